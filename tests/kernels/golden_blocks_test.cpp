// Encoders and decoders against bytes and values made by the formats' reference implementation.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "lib/base/json.h"
#include "lib/base/sha256.h"
#include "lib/io/text_file.h"
#include "tests/support/places.h"

namespace {

using lq::DType, lq::DTypeTraits;

lq::Json golden(const std::string& name) {
  return lq::parse_json(lq::read_text(lq::test::testdata("golden/" + name)), name);
}

/// The inputs of the golden files: exact in binary32 and easy to make anywhere.
class Generator {
 public:
  explicit Generator(std::uint32_t seed) : state_(seed) {}
  std::vector<float> values(std::size_t n) {
    std::vector<float> x(n);
    for (float& value : x) {
      int sum = -4 * 32768;
      for (int i = 0; i < 4; ++i) sum += static_cast<int>(next() >> 16);
      value = static_cast<float>(sum) / 1048576.0f;
    }
    return x;
  }
  std::vector<float> weights(std::size_t n) {
    std::vector<float> w(n);
    for (float& value : w) value = 1 + static_cast<float>((next() >> 20) & 1023) / 64;
    return w;
  }

 private:
  std::uint32_t next() { return state_ = 1664525u * state_ + 1013904223u; }
  std::uint32_t state_;
};

/// Rows of `n_columns` values, encoded one after the other with the same importance (or none).
std::vector<std::byte> encode_rows(const DTypeTraits& t, const std::vector<float>& x,
                                   std::size_t n_columns, const std::vector<float>* importance) {
  std::vector<std::byte> stored(t.row_bytes(x.size()));
  for (std::size_t at = 0; at < x.size(); at += n_columns)
    t.encode(x.data() + at, importance ? importance->data() : nullptr,
             stored.data() + t.row_bytes(at), n_columns);
  return stored;
}

template <class T>
std::string sha256_of(const std::vector<T>& values) {
  return lq::sha256_hex(std::as_bytes(std::span(values)));
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    text += "0123456789abcdef"[std::to_integer<int>(byte) >> 4];
    text += "0123456789abcdef"[std::to_integer<int>(byte) & 15];
  }
  return text;
}

/// The type of that name if we have its codec.
const DTypeTraits* codec_named(const std::string& name) {
  const auto type = lq::dtype_named(name);
  return type && lq::traits(*type).has_codec() ? &lq::traits(*type) : nullptr;
}

std::vector<float> edge_row(const std::string& name) {
  std::vector<float> x(256, 0.0f);
  for (int i = 0; i < 256; ++i) {
    float& value = x[static_cast<std::size_t>(i)];
    if (name == "negzero") value = -0.0f;
    if (name == "ones") value = 1;
    if (name == "minus_ones") value = -1;
    if (name == "ramp") value = static_cast<float>(i % 32 - 16) / 8;
    if (name == "perm") value = static_cast<float>(37 * i % 256 - 128) / 64;
    if (name == "onehot5") value = i == 5 ? 3.0f : 0.0f;
    if (name == "alt") value = i % 2 ? -1.0f : 1.0f;
  }
  return x;
}

std::vector<float> edge_importance(const std::string& name) {
  if (name == "none") return {};
  std::vector<float> w(256, name == "flat1" ? 1.0f : 0.0f);
  if (name == "half0_half2") std::fill(w.begin() + 128, w.end(), 2.0f);
  return w;
}

}  // namespace

TEST_CASE("blocks: one row of each type is encoded to the reference's bytes") {
  const auto file = golden("kquants.json.zst");
  const auto x = Generator(1).values(256), w = Generator(2).weights(256);
  REQUIRE(sha256_of(x) == file["small"]["x_sha256"]);
  int n_compared = 0, n_skipped = 0;
  for (const auto& entry : file["small"]["types"].items()) {
    const std::string& name = entry.key();
    const DTypeTraits* t = codec_named(name);
    for (const auto& result : entry.value().items()) {
      const std::string& variant = result.key();
      const auto& expected = result.value();
      CAPTURE(name);
      CAPTURE(variant);
      if (!t) {
        ++n_skipped;
        continue;
      }
      const auto stored = encode_rows(*t, x, x.size(), variant == "imatrix" ? &w : nullptr);
      CHECK(hex(stored) == expected);
      n_compared += 256 / t->values;
    }
  }
  MESSAGE(n_compared, " blocks compared, ", n_skipped, " entries of types without a codec skipped");
}

TEST_CASE("blocks: a matrix of each type has the reference's digest, stored and decoded") {
  const auto file = golden("kquants.json.zst");
  const auto& matrix = file["matrix"];
  const std::size_t n_columns = matrix["cols"];
  const auto x = Generator(3).values(n_columns * matrix["rows"].get<std::size_t>());
  const auto w = Generator(4).weights(n_columns);
  REQUIRE(sha256_of(x) == matrix["x_sha256"]);
  REQUIRE(sha256_of(w) == matrix["w_sha256"]);
  std::size_t n_compared = 0, n_skipped = 0;
  for (const auto& entry : matrix["types"].items()) {
    const std::string& name = entry.key();
    const DTypeTraits* t = codec_named(name);
    for (const auto& result : entry.value().items()) {
      const std::string& variant = result.key();
      const auto& expected = result.value();
      CAPTURE(name);
      CAPTURE(variant);
      if (!t) {
        ++n_skipped;
        continue;
      }
      const auto stored = encode_rows(*t, x, n_columns, variant == "imatrix" ? &w : nullptr);
      std::vector<float> decoded(x.size());
      t->decode(stored.data(), decoded.data(), decoded.size());
      CHECK(sha256_of(stored) == expected["q_sha256"]);
      if (expected.contains("deq_f32_sha256"))
        CHECK(sha256_of(decoded) == expected["deq_f32_sha256"]);
      CHECK(t->valid(stored.data(), x.size()));
      n_compared += x.size() / static_cast<std::size_t>(t->values);
    }
  }
  MESSAGE(n_compared, " blocks compared, ", n_skipped, " entries of types without a codec skipped");
}

TEST_CASE("blocks: rows of zeros, constants, ramps and lone values are encoded as the reference") {
  const auto file = golden("kquants_edge.json.zst");
  std::size_t n_compared = 0, n_skipped = 0;
  for (const auto& entry : file["blocks"].items()) {
    const std::string& key = entry.key();
    const std::string bytes = entry.value();
    const auto slash = key.find('/'), second = key.find('/', slash + 1);
    const DTypeTraits* t = codec_named(key.substr(0, slash));
    if (!t) {
      ++n_skipped;
      continue;
    }
    CAPTURE(key);
    const auto row = edge_row(key.substr(slash + 1, second - slash - 1));
    const auto w = edge_importance(key.substr(second + 1));
    const auto stored = encode_rows(*t, row, row.size(), w.empty() ? nullptr : &w);
    // Where all blocks of a row are alike, the file holds the first one.
    CHECK(bytes.size() >= 2 * t->bytes);
    CHECK(hex(stored).substr(0, bytes.size()) == bytes);
    n_compared += bytes.size() / (2 * t->bytes);
  }
  MESSAGE(n_compared, " blocks compared, ", n_skipped, " entries of types without a codec skipped");
}

TEST_CASE("blocks: bytes worked out by hand") {
  struct Row {
    const char *type, *input, *bytes;
  };
  const Row rows[] = {
      {"Q4_0", "ramp", "0034809191a2a2b3b3c4c4d5d5e6e6f7f7f8"},
      {"Q4_1", "ramp", "223400c080809191a2a2b3b3c4c4d5d5e6e6f7f7"},
      {"Q5_0", "ramp", "00300000ffff00112233445566778899aabbccddeeff"},
      {"Q5_1", "ramp", "003000c00000ffff00112233445566778899aabbccddeeff"},
      {"Q8_0", "ramp", "082481899199a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f77"},
      {"Q4_0", "ones", "00b000000000000000000000000000000000"},
      {"Q8_0", "ones", "08207f7f"},
      {"Q4_K", "ones", "56140000ffffffff000000000f0f0f0fffffffff"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.type);
    const DTypeTraits* t = codec_named(row.type);
    REQUIRE(t);
    const auto x = edge_row(row.input);
    const auto stored = encode_rows(*t, x, x.size(), nullptr);
    const std::string bytes = row.bytes;
    CHECK(hex(stored).substr(0, bytes.size()) == bytes);
  }
}
