#pragma once
// The only exception of the project and the only way to throw it.
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace lq {

/// What went wrong, as far as the caller may act on it. Each kind has one exit status
/// (tools/cli/tool.cpp).
enum class ErrorKind {
  usage,        ///< the request makes no sense: options, output equal to input
  file,         ///< a file cannot be opened, read, written or renamed; no space
  input,        ///< the content of an input is invalid
  unsupported,  ///< the content is valid but not something we can work with
  resource,     ///< not enough memory, on the host or on a device
  check,        ///< the work was done and a check that was asked for did not hold
  truncated,    ///< the answer was cut by a limit and the caller asked to hear of it
  interrupted,  ///< the user asked to stop
  failure,      ///< anything else
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws Error(kind) with the parts written one after the other. Form of a message:
/// "where: what was found; what was expected; what to do", lower case, no full stop.
template <class... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(kind, message.str());
}

/// Ends the process with the place of a broken promise of our own. Never for input.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace lq

#define LQ_ASSERT(condition) \
  ((condition) ? void(0) : ::lq::assertion_failed(#condition, __FILE__, __LINE__))
