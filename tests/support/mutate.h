#pragma once
// Damaged copies of a small file.
#include <cstddef>
#include <span>
#include <vector>

namespace lq::test {

/// Calls check(damaged) with `original` cut at every length, and with every byte changed in several
/// ways: all bits flipped, the lowest and the highest bit flipped, zero, 0xff.
template <class Check>
void for_each_mutation(std::span<const std::byte> original, const Check& check) {
  for (std::size_t n = 0; n < original.size(); ++n)
    check(std::vector<std::byte>(original.begin(), original.begin() + static_cast<long>(n)));
  std::vector<std::byte> damaged(original.begin(), original.end());
  for (std::size_t i = 0; i < damaged.size(); ++i) {
    const std::byte was = damaged[i];
    const std::byte values[] = {~was, was ^ std::byte{1}, was ^ std::byte{0x80}, std::byte{0},
                                std::byte{0xff}};
    for (const std::byte value : values) {
      if (value == was) continue;
      damaged[i] = value;
      check(damaged);
    }
    damaged[i] = was;
  }
}

}  // namespace lq::test
