#include "lib/format/tensor.h"

#include <charconv>

namespace lq {

std::uint64_t TensorInfo::rows() const {
  std::uint64_t n = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) n *= shape[i];
  return n;
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

std::vector<std::uint64_t> trimmed_shape(std::span<const std::uint64_t> shape) {
  std::size_t n = shape.size();
  while (n > 1 && shape[n - 1] == 1) --n;
  std::vector<std::uint64_t> trimmed(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(n));
  if (trimmed.empty()) trimmed.push_back(1);
  return trimmed;
}

int layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (name.substr(0, kPrefix.size()) != kPrefix) return -1;
  const char* first = name.data() + kPrefix.size();
  const char* last = name.data() + name.size();
  int layer = 0;
  const auto [end, error] = std::from_chars(first, last, layer);
  return error == std::errc() && end != last && *end == '.' && layer >= 0 ? layer : -1;
}

}  // namespace lq
