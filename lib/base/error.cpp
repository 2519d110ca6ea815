#include "lib/base/error.h"

#include <unistd.h>

#include <cstdlib>

namespace lq {

void assertion_failed(const char* condition, const char* file, int line) {
  const std::string text = std::string("lq: internal error at ") + file + ":" +
                           std::to_string(line) + ": " + condition + "\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
  std::abort();  // lint: a broken promise of our own, never input
}

}  // namespace lq
