#pragma once
// A choice for each of several things, with the least loss within a size.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lq {

struct SizeOption {
  std::uint64_t bytes = 0;
  double loss = 0;
};

/// What can be chosen for one thing: by size, each option with less loss than those before.
using SizeOptions = std::vector<SizeOption>;

/// Indices of the options on the lower hull of loss over bytes, from the first to the last.
std::vector<std::size_t> lower_hull(const SizeOptions& options);

/// The option to take for each thing so that all together have at most `budget` bytes: steps along
/// the hulls by loss saved a byte, which is what a Lagrange multiplier finds, then at most so many
/// exchanges that fill better what remains. The first options have to fit. Depends on nothing but
/// its arguments.
std::vector<std::size_t> allocate(const std::vector<SizeOptions>& things, std::uint64_t budget,
                                  int exchanges);

}  // namespace lq
