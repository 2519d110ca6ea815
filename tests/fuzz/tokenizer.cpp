// Fuzz target: a GGUF file whose metadata makes a tokenizer; the bytes of the file are also the
// text that it encodes. Anything but a result or an Error is a finding.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "lib/base/error.h"
#include "lib/format/gguf_reader.h"
#include "lib/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = lq::make_tokenizer(lq::parse_gguf(bytes, "fuzz").metadata);
    for (const bool parse_special : {false, true}) {
      const auto ids =
          tokenizer->encode(text, {.add_special = true, .parse_special = parse_special});
      for (const lq::TokenId id : ids)
        if (id < 0 || id >= tokenizer->size()) std::abort();
      tokenizer->decode(ids, true);
    }
  } catch (const lq::Error&) {
  }
  return 0;
}
