#pragma once
// How this program was made.
namespace lq {

struct BuildInfo {
  const char* version;     ///< of the project, e.g. "0.1.0"
  const char* build_type;  ///< "Release", ...
  const char* compiler;    ///< "GNU 12.2.0"
  const char* cuda;        ///< version of the CUDA toolkit that is linked, or "no"
};

const BuildInfo& build_info();

}  // namespace lq
