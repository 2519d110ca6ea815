#include "kernels/cpu/asked_features.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace lq::kernels {
namespace {

struct FeatureWords {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// Of leaf 7; zero where the processor does not have it.
FeatureWords extended_features(unsigned subleaf) {
  FeatureWords words;
  __get_cpuid_count(7, subleaf, &words.eax, &words.ebx, &words.ecx, &words.edx);
  return words;
}

constexpr unsigned bit_of(int n) { return 1u << n; }

bool request_tile_data() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // number of the state component
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool has_avx_vnni() noexcept { return (extended_features(1).eax & bit_of(4)) != 0; }

bool has_avx512_bf16() noexcept { return (extended_features(1).eax & bit_of(5)) != 0; }

bool has_fast_avx512_bf16() noexcept { return has_avx512_bf16() && __builtin_cpu_is("amd") != 0; }

bool grants_tiles() noexcept {
  constexpr unsigned kBfloat = bit_of(22), kTile = bit_of(24), kBoth = kBfloat | kTile;
  static const bool kGranted = (extended_features(0).edx & kBoth) == kBoth && request_tile_data();
  return kGranted;
}

bool asks_for_amx() noexcept {
  const char* const forced = getenv("LQ_CPU_ISA");
  return forced && strcmp(forced, "amx") == 0;
}

}  // namespace lq::kernels
