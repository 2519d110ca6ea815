#include "kernels/blocks/dtype.h"

#include "kernels/blocks/all_blocks.h"

namespace lq {
namespace {

using namespace kernels;

template <class Block>
void decode_row(const void* blocks, float* out, std::size_t n_values) noexcept {
  const auto* block = static_cast<const Block*>(blocks);
  for (std::size_t i = 0; i < n_values; i += Block::kValues) decode(*block++, out + i);
}

/// Mean of squares, summed in order in binary32 as the format's reference does.
float mean_square(const float* row, std::size_t n) {
  float sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += row[i] * row[i];
  return sum / static_cast<float>(n);
}

template <class Block>
void encode_row(const float* row, const float* importance, void* blocks,
                std::size_t n_values) noexcept {
  auto* block = static_cast<Block*>(blocks);
  Importance hints;
  if (importance) hints.row_mean_square = mean_square(row, n_values);
  for (std::size_t i = 0; i < n_values; i += Block::kValues) {
    if (importance) hints.weight = importance + i;
    encode(row + i, hints, *block++);
  }
}

template <class Block>
bool valid_row(const void* blocks, std::size_t n_values) noexcept {
  const auto* block = static_cast<const Block*>(blocks);
  for (std::size_t i = 0; i < n_values; i += Block::kValues)
    if (!valid(*block++)) return false;
  return true;
}

constexpr DTypeTraits kTraits[] = {
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse)              \
  {name,     gguf_id,           Block::kValues,    sizeof(Block), \
   max_rmse, decode_row<Block>, encode_row<Block>, valid_row<Block>},
#define LQ_STORAGE(id, name, gguf_id, values, bytes) \
  {name, gguf_id, values, bytes, 0, nullptr, nullptr, nullptr},
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

}  // namespace

const DTypeTraits& traits(DType type) noexcept { return kTraits[static_cast<int>(type)]; }

std::optional<DType> dtype_of_gguf(std::uint32_t gguf_id) noexcept {
  for (int i = 0; i < kDTypeCount; ++i)
    if (kTraits[i].gguf_id == gguf_id) return static_cast<DType>(i);
  return std::nullopt;
}

std::optional<DType> dtype_named(std::string_view name) noexcept {
  for (int i = 0; i < kDTypeCount; ++i)
    if (same_name(name, kTraits[i].name)) return static_cast<DType>(i);
  return std::nullopt;
}

}  // namespace lq
