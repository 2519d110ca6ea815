// Any bytes are a GGUF model or an Error.
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/base/error.h"
#include "lib/format/gguf_reader.h"
#include "lib/format/gguf_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const lq::GgufReader reader(std::as_bytes(std::span(data, size)), "input");
    for (std::size_t i = 0; i < reader.tensors().size(); ++i)
      if (reader.data(i).size() != reader.tensors()[i].bytes() ||
          reader.find(reader.tensors()[i].name) != i)
        __builtin_trap();
    for (const auto& entry : reader.metadata().entries())
      if (reader.metadata().find(entry.key) != &entry.value) __builtin_trap();
    // What was read can be written.
    if (lq::gguf_file_bytes(reader.metadata(), reader.tensors()) == 0) __builtin_trap();
  } catch (const lq::Error&) {
  }
  return 0;
}
