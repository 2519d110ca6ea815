#include "kernels/blocks/dtype.h"

#include "kernels/blocks/all_blocks.h"
#include "kernels/blocks/rows.h"

namespace lq {
namespace {

using namespace kernels;

// Files put tensors at any address: a block has no alignment.
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) static_assert(alignof(Block) == 1);
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE

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
    if (kTraits[i].in_gguf() && kTraits[i].gguf_id == gguf_id) return static_cast<DType>(i);
  return std::nullopt;
}

std::optional<DType> dtype_named(std::string_view name) noexcept {
  for (int i = 0; i < kDTypeCount; ++i)
    if (same_name(name, kTraits[i].name)) return static_cast<DType>(i);
  return std::nullopt;
}

}  // namespace lq
