#pragma once
// A block taken apart: what panels (kernels/panels) are made of. A type whose header says kPanel
// and take_apart() gets products of integer codes; one whose header says kFloatPanel, and where
// values share scales code_value(), take_scales() and take_codes(), products of floats. Every other
// type is multiplied as it is stored.
#include <cstdint>

namespace lq::kernels {

/// How a type's codes and scales are stored in panels.
struct PanelForm {
  int low_bits;                ///< of a code, in the first plane: 2, 4 or 8
  int high_bits = 0;           ///< of a code, in the second plane: 0, 1 or 2
  int group;                   ///< values under one scale: 16 or 32; with zeros 32 or 128
  int zero = 0;                ///< the code that stands for 0
  bool nested = false;         ///< integer scales of groups under one scale of 256 values
  bool mins = false;           ///< something is added to or subtracted from the values of a group
  bool nibble_scales = false;  ///< nested: scale and minimum of a group fit 4 bits each
  bool signed_scales = false;  ///< nested: scales of groups may be negative
  bool zeros = false;  ///< each group has a binary32 scale, and its own code that stands for 0
};

/// Value i of 256 = scale * group_scale[j] * (code[i] - zero) - min * group_min[j], j = i / group.
struct NestedParts {
  std::uint8_t code[256];
  std::int8_t group_scale[16];  ///< the first 256 / group are used
  std::uint8_t group_min[16];   ///< below 128
  std::uint16_t scale, min;     ///< binary16
};

/// Value i of 32 = scale * (code[i] - zero) + low.
struct FlatParts {
  std::uint8_t code[32];
  std::uint16_t scale, low;  ///< binary16
};

/// Value i of a group = scale * (code[i] - zero).
struct ZeroParts {
  std::uint8_t code[128];  ///< the first `group` are used
  std::uint8_t zero;       ///< at most the largest code
  float scale;
};

/// What is stored of a value in panels of floats.
enum class FloatCode {
  binary32,
  binary16,
  bfloat16,
  int8,     ///< the value is an integer
  e4m3,     ///< a float of 8 bits
  table32,  ///< 4 bits: one of 16 binary32
  table16   ///< 4 bits: one of 16 binary32 that are bfloat16, too
};

/// Value i of a block = scale[i / group] * Block::code_value(code[i]), with what take_scales() and
/// take_codes() find in the block.
struct FloatPanelForm {
  FloatCode code;
  int group = 0;  ///< values under one scale; 0: there is no scale, and a block is a value
};

}  // namespace lq::kernels
