#pragma once
// A Hugging Face folder as the plan of a GGUF file.
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/monitor.h"
#include "lib/jobs/plan.h"

namespace lq {

/// A type that all matrices can be stored in, and what general.file_type calls it.
struct OutputType {
  DType type;
  std::uint32_t file_type;
};
std::span<const OutputType> output_types();

/// A model family and the classes of config.json that belong to it.
struct SupportedFamily {
  std::string architecture;
  std::vector<std::string> classes;
};
std::vector<SupportedFamily> supported_families();

struct ConvertOptions {
  std::filesystem::path input = {};  ///< a folder; with vocab_only also a SentencePiece model
  std::optional<DType> type = {};    ///< one of output_types(); nothing: the type of the checkpoint
  bool vocab_only = false;           ///< tokenizer and metadata, no tensors
  std::string name = {};             ///< general.name; empty: found out
  std::filesystem::path overrides = {};  ///< JSON file of general.* keys; empty: none
  std::string pre = {};                  ///< pre-tokenizer; empty: found out
  bool keep_types = false;  ///< matrices have the types of the checkpoint, whatever they are: for
                            ///< running, not for files
  bool compat = false;      ///< the reference's bytes also where they are known to be wrong
};

struct Conversion {
  std::unique_ptr<TensorSource> source;  ///< null with vocab_only
  Plan plan;
  std::string file_name;  ///< the conventional one, e.g. "Llama3-1.3M-BF16.gguf"
  std::string encoding;   ///< "BF16"; for templates of file names
  std::vector<std::filesystem::path> inputs;
};

/// Reads the folder and decides on everything; throws Error(input | unsupported) for what is
/// missing, left over or of the wrong shape.
Conversion plan_conversion(const ConvertOptions& options, Monitor& monitor);

}  // namespace lq
