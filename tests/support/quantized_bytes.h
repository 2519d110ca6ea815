#pragma once
// A quantized folder out of bytes: JSON of its configuration, a zero byte, a safetensors file. For
// damaged bytes and for fuzzing.
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lib/jobs/quantized_folder.h"
#include "lib/jobs/stored_scheme_parser.h"

namespace lq::test {

/// Opens it and makes all rows, whole and in pieces, which have to be the same. Throws Error.
/// Returns false when the pieces differ or sizes are wrong.
inline bool read_quantized_bytes(std::span<const std::byte> bytes) {
  std::size_t end = 0;
  while (end < bytes.size() && bytes[end] != std::byte{0}) ++end;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), end);
  const Json json = parse_json(text, "config.json");
  const JsonObject object(&json, "config.json");
  const auto schemes = read_stored_schemes(StoredConfigs{object, {}, object.object("modelopt")});
  if (!schemes) return true;
  const auto tensors = bytes.subspan(std::min(bytes.size(), end + 1));
  for (const Nvfp4As nvfp4 : {Nvfp4As::with_divisor, Nvfp4As::gguf}) {
    const QuantizedFolder folder(std::make_unique<SafetensorsReader>(tensors, "model.safetensors"),
                                 *schemes, nvfp4);
    for (std::size_t i = 0; i < folder.tensors().size(); ++i) {
      if (!folder.matrix(i)) continue;
      const auto whole = folder.data(i);
      if (whole.size() != folder.tensors()[i].bytes()) return false;
      std::vector<std::byte> part(whole.size() / 3);
      folder.read(i, part.size(), part);
      if (!std::equal(part.begin(), part.end(), whole.begin() + static_cast<long>(part.size())))
        return false;
      folder.release(i);
    }
  }
  return true;
}

}  // namespace lq::test
