#pragma once
// The tiles of tile_products.h: AMX.
//
// Written as assembly: g++ 12's intrinsics do not say that they read memory, so that it drops what
// was stored there before, and their tile numbers have to be literals.
#include "kernels/cpu/ops/expand_avx512.h"

namespace lq::kernels {
namespace {

/// What ldtilecfg reads.
struct TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

/// The thread's tiles while it lives: all of 16 rows of 64 bytes.
class TilesAmx : public ExpandAvx512, public TileRegisters<TilesAmx> {
 public:
  static constexpr int kBlockTokens = kMostBlockTokens, kChunkSteps = 64;  ///< 1 MB

  TilesAmx() {
    static constexpr TileShapes kShapes;
    __asm__ volatile("ldtilecfg %0" ::"m"(kShapes));
  }
  ~TilesAmx() { __asm__ volatile("tilerelease" ::: "memory"); }
  TilesAmx(const TilesAmx&) = delete;
  TilesAmx& operator=(const TilesAmx&) = delete;

  template <int kTile>
  void zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  void load(const void* from, std::size_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile)
                     : "memory");
  }
  template <int kTile>
  void store(void* to, std::size_t stride) const {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile)
                     : "memory");
  }
  template <int kC, int kA, int kB>
  void add_product() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace lq::kernels
