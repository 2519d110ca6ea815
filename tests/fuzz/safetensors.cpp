// Any bytes are a safetensors file or an Error.
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/base/error.h"
#include "lib/format/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const lq::SafetensorsReader reader(std::as_bytes(std::span(data, size)), "input");
    for (std::size_t i = 0; i < reader.tensors().size(); ++i) {
      if (reader.find(reader.tensors()[i].name) != i) __builtin_trap();
      if (!reader.is_foreign(i) && reader.data(i).size() != reader.tensors()[i].bytes())
        __builtin_trap();
    }
  } catch (const lq::Error&) {
  }
  return 0;
}
