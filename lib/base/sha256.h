#pragma once
// SHA-256 (FIPS 180-4): to recognise files and to compare outputs by a short name.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace lq {

class Sha256 {
 public:
  using Digest = std::array<std::uint8_t, 32>;

  void update(std::span<const std::byte> bytes);
  /// The digest of everything given so far. Call it once, last.
  Digest finish();

 private:
  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> pending_ = {};  ///< the first n_bytes_ % 64 are in use
  std::uint64_t n_bytes_ = 0;
};

/// The digest of `bytes` as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);
/// `digest` as 64 lower-case hexadecimal digits.
std::string to_hex(const Sha256::Digest& digest);

}  // namespace lq
