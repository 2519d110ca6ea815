// Any bytes are a quantized folder whose rows can be made, or an Error.
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/base/error.h"
#include "tests/support/quantized_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    if (!lq::test::read_quantized_bytes(std::as_bytes(std::span(data, size)))) __builtin_trap();
  } catch (const lq::Error&) {
  }
  return 0;
}
