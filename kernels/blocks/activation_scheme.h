#pragma once
// How engines round what a quantized checkpoint's matrices are multiplied with. In each scheme a
// value stands for code * scale, where the scale comes from the values themselves unless the
// checkpoint has one (static).
#include <cstdint>

namespace lq {

enum class ActivationScheme : std::uint8_t {
  none,
  int8_token,   ///< integers of 8 bits, a scale for each token
  fp8_tensor,   ///< E4M3, one scale, static or for each token
  fp8_token,    ///< E4M3, a scale for each token
  fp8_group,    ///< E4M3, a scale for 128 columns of a token
  mxfp8_group,  ///< E4M3, a power of two for 32 columns
  fp4_group     ///< E2M1, an E4M3 scale for 16 columns, over a static divisor
};

struct ActivationRounding {
  ActivationScheme scheme = ActivationScheme::none;
  float scale = 0;  ///< static scale (fp4_group: divisor); 0: none
  bool operator==(const ActivationRounding&) const = default;
  explicit operator bool() const { return scheme != ActivationScheme::none; }
};

}  // namespace lq
