#include "lib/jobs/linear_layouts.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lib/base/error.h"

namespace lq {
namespace {

/// Codes in words of 32 bits, each word holding codes of consecutive places: where code `i` of a
/// group of words begins. 3 bits do not divide 32: 32 codes in three words, as one string of bits.
struct WordPacking {
  int bits;

  std::uint64_t codes_together() const { return bits == 3 ? 32 : 32 / static_cast<unsigned>(bits); }
  std::uint64_t words_together() const { return bits == 3 ? 3 : 1; }
  std::uint64_t words(std::uint64_t n) const { return n / codes_together() * words_together(); }
};

std::uint64_t groups_of(const WeightScheme& scheme, const Linear& linear) {
  return linear.cols / group_of(scheme, linear);
}

constexpr std::size_t kWordBytes = sizeof(std::uint32_t);

void put_word(std::byte* at, std::uint64_t index, std::uint32_t word) {
  std::memcpy(at + index * sizeof word, &word, sizeof word);
}
std::uint32_t word_at(const std::byte* at, std::uint64_t index) {
  std::uint32_t word;
  std::memcpy(&word, at + index * sizeof word, sizeof word);
  return word;
}

void put_scales(const IntegerPlace& place, std::span<const float> scales, std::byte* at) {
  traits(place.scheme.scales_for(place.linear.type))
      .encode(scales.data(), nullptr, at, scales.size());
}
void get_scales(const IntegerPlace& place, const std::byte* at, std::span<float> scales) {
  traits(place.scheme.scales_for(place.linear.type)).decode(at, scales.data(), scales.size());
}
std::uint64_t scale_bytes(const IntegerPlace& place) {
  return traits(place.scheme.scales_for(place.linear.type)).bytes;
}

/// Packed zero points of compressed-tensors go down the columns: [words][groups].
struct ZeroWords {
  ZeroWords(const IntegerPlace& place, const IntegerRows& rows)
      : bits(place.scheme.bits),
        n_groups(rows.n_groups),
        above(kernels::packed_words(static_cast<std::size_t>(place.first - place.origin), bits)),
        column(kernels::packed_words(rows.n_rows, bits)) {}

  void store(const IntegerRows& from, std::byte* at) {
    for (std::size_t g = 0; g < n_groups; ++g) {
      kernels::pack_codes(from.zeros.data() + g, from.n_rows, n_groups, bits, column.data());
      for (std::size_t w = 0; w < column.size(); ++w)
        put_word(at, (above + w) * n_groups + g, column[w]);
    }
  }
  void load(const std::byte* at, IntegerRows& into) {
    for (std::size_t g = 0; g < n_groups; ++g) {
      for (std::size_t w = 0; w < column.size(); ++w)
        column[w] = word_at(at, (above + w) * n_groups + g);
      kernels::unpack_codes(column.data(), into.n_rows, n_groups, bits, into.zeros.data() + g);
    }
  }

  int bits;
  std::size_t n_groups, above;
  std::vector<std::uint32_t> column;
};

/// Parts of compressed-tensors: weight, scale, shape, zero points; rows one after the other.
void store_rows(const IntegerPlace& place, const IntegerRows& from, LinearBytes& parts) {
  const WeightScheme& scheme = place.scheme;
  const std::uint64_t at = place.first - place.origin;
  put_scales(place, from.scales, parts[1].data() + at * from.n_groups * scale_bytes(place));
  if (!scheme.is_packed()) {
    std::memcpy(parts[0].data() + at * from.cols, from.codes.data(), from.codes.size());
    return;
  }
  const std::size_t row_bytes = kernels::packed_words(from.cols, scheme.bits) * kWordBytes;
  for (std::size_t r = 0; r < from.n_rows; ++r)
    place.kernels.pack(from.codes.data() + r * from.cols, from.cols, scheme.bits,
                       parts[0].data() + (at + r) * row_bytes);
  if (place.first == 0) {
    const std::int64_t shape[2] = {static_cast<std::int64_t>(place.linear.rows),
                                   static_cast<std::int64_t>(place.linear.cols)};
    std::memcpy(parts[2].data(), shape, sizeof shape);
  }
  if (!scheme.symmetric) ZeroWords(place, from).store(from, parts[3].data());
}

void load_rows(const IntegerPlace& place, PartBytes parts, IntegerRows& into) {
  const WeightScheme& scheme = place.scheme;
  const std::uint64_t at = place.first - place.origin;
  if (scheme.scales == ScalesOf::tensor) {
    get_scales(place, parts[1].data(), std::span(into.scales).first(1));
    std::fill(into.scales.begin() + 1, into.scales.end(), into.scales[0]);
  } else {
    get_scales(place, parts[1].data() + at * into.n_groups * scale_bytes(place), into.scales);
  }
  if (!scheme.is_packed()) {
    std::memcpy(into.codes.data(), parts[0].data() + at * into.cols, into.codes.size());
    if (!scheme.symmetric)
      std::memcpy(into.zeros.data(), parts[2].data() + at * into.n_groups, into.zeros.size());
    return;
  }
  const std::size_t row_bytes = kernels::packed_words(into.cols, scheme.bits) * kWordBytes;
  for (std::size_t r = 0; r < into.n_rows; ++r)
    place.kernels.unpack(parts[0].data() + (at + r) * row_bytes, into.cols, scheme.bits,
                         into.codes.data() + r * into.cols);
  if (!scheme.symmetric) ZeroWords(place, into).load(parts[3].data(), into);
}

/// AutoAWQ interleaves the columns of a word.
constexpr std::array<std::size_t, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};

/// The codes of AutoAWQ: words of 8 rows for each column of the matrix.
void store_awq_codes(const IntegerPlace& place, const IntegerRows& from, std::byte* parts) {
  const std::uint64_t across = place.linear.rows / kAwqOrder.size();
  for (std::size_t r = 0; r < from.n_rows; r += kAwqOrder.size()) {
    const std::int8_t* codes = from.codes.data() + r * from.cols;
    for (std::size_t c = 0; c < from.cols; ++c) {
      std::uint32_t word = 0;
      for (std::size_t j = 0; j < kAwqOrder.size(); ++j)
        word |= static_cast<std::uint32_t>(codes[kAwqOrder[j] * from.cols + c] + 8) << 4 * j;
      put_word(parts, c * across + (place.first + r) / kAwqOrder.size(), word);
    }
  }
}

void load_awq_codes(const IntegerPlace& place, const std::byte* parts, IntegerRows& into) {
  const std::uint64_t across = place.linear.rows / kAwqOrder.size();
  for (std::size_t r = 0; r < into.n_rows; r += kAwqOrder.size()) {
    std::int8_t* codes = into.codes.data() + r * into.cols;
    for (std::size_t c = 0; c < into.cols; ++c) {
      const std::uint32_t word = word_at(parts, c * across + (place.first + r) / kAwqOrder.size());
      for (std::size_t j = 0; j < kAwqOrder.size(); ++j)
        codes[kAwqOrder[j] * into.cols + c] =
            static_cast<std::int8_t>(static_cast<int>(word >> 4 * j & 15) - 8);
    }
  }
}

/// The codes of GPTQ: words of the columns of a row, words of the rows side by side.
void store_gptq_codes(const IntegerPlace& place, const IntegerRows& from, std::byte* parts) {
  const std::size_t n_words = kernels::packed_words(from.cols, place.scheme.bits);
  std::vector<std::uint32_t> words(from.n_rows * n_words);
  for (std::size_t r = 0; r < from.n_rows; ++r)
    place.kernels.pack(from.codes.data() + r * from.cols, from.cols, place.scheme.bits,
                       words.data() + r * n_words);
  for (std::size_t w = 0; w < n_words; ++w)
    for (std::size_t r = 0; r < from.n_rows; ++r)
      put_word(parts, w * place.linear.rows + place.first + r, words[r * n_words + w]);
}

void load_gptq_codes(const IntegerPlace& place, const std::byte* parts, IntegerRows& into) {
  const std::size_t n_words = kernels::packed_words(into.cols, place.scheme.bits);
  std::vector<std::uint32_t> words(into.n_rows * n_words);
  for (std::size_t w = 0; w < n_words; ++w)
    for (std::size_t r = 0; r < into.n_rows; ++r)
      words[r * n_words + w] = word_at(parts, w * place.linear.rows + place.first + r);
  for (std::size_t r = 0; r < into.n_rows; ++r)
    place.kernels.unpack(words.data() + r * n_words, into.cols, place.scheme.bits,
                         into.codes.data() + r * into.cols);
}

/// Zero points of GPTQ and AutoAWQ: words of rows, for each group of columns.
class ZeroColumns {
 public:
  explicit ZeroColumns(const IntegerPlace& place)
      : awq_(place.scheme.layout == WeightLayout::awq),
        // Version 1 of GPTQ stores what is one less.
        less_(place.scheme.layout == WeightLayout::gptq ? 1 : 0),
        packing_{place.scheme.bits},
        together_(static_cast<std::size_t>(packing_.codes_together())),
        n_words_(static_cast<std::size_t>(packing_.words_together())),
        across_(packing_.words(place.linear.rows)),
        first_(place.first),
        codes_(together_) {}

  void store(const IntegerRows& from, std::byte* at) {
    for (std::size_t g = 0; g < from.n_groups; ++g)
      for (std::size_t r = 0; r < from.n_rows; r += together_) {
        for (std::size_t j = 0; j < together_; ++j)
          codes_[j] =
              static_cast<std::int8_t>(from.zeros[(r + order(j)) * from.n_groups + g] - less_);
        kernels::pack_codes(codes_.data(), together_, 1, packing_.bits, words_);
        for (std::size_t w = 0; w < n_words_; ++w) put_word(at, place_of(g, r) + w, words_[w]);
      }
  }
  void load(const std::byte* at, IntegerRows& into) {
    for (std::size_t g = 0; g < into.n_groups; ++g)
      for (std::size_t r = 0; r < into.n_rows; r += together_) {
        for (std::size_t w = 0; w < n_words_; ++w) words_[w] = word_at(at, place_of(g, r) + w);
        kernels::unpack_codes(words_, together_, 1, packing_.bits, codes_.data());
        for (std::size_t j = 0; j < together_; ++j)
          into.zeros[(r + order(j)) * into.n_groups + g] = one_more(codes_[j]);
      }
  }

 private:
  /// What is stored as `zero`; the largest wraps around.
  std::int8_t one_more(int zero) const {
    const int most = 1 << (packing_.bits - 1);
    return static_cast<std::int8_t>(zero + less_ == most ? -most : zero + less_);
  }
  std::size_t order(std::size_t j) const { return awq_ ? kAwqOrder[j] : j; }
  std::uint64_t place_of(std::size_t group, std::size_t row) const {
    return group * across_ + (first_ + row) / together_ * n_words_;
  }

  bool awq_;
  int less_;
  WordPacking packing_;
  std::size_t together_, n_words_;
  std::uint64_t across_, first_;  ///< words of a row of zero points; the matrix's row
  std::vector<std::int8_t> codes_;
  std::uint32_t words_[3] = {};
};

/// Parts of GPTQ and AWQ: weight, zero points, scales (and group of each column): columns of the
/// matrix one after the other. GPTQ packs its columns, AWQ its rows.
void store_columns(const IntegerPlace& place, const IntegerRows& from, LinearBytes& parts) {
  const bool awq = place.scheme.layout == WeightLayout::awq;
  (awq ? store_awq_codes : store_gptq_codes)(place, from, parts[0].data());
  ZeroColumns(place).store(from, parts[1].data());
  std::vector<float> scales(from.n_rows);
  for (std::size_t g = 0; g < from.n_groups; ++g) {
    for (std::size_t r = 0; r < from.n_rows; ++r) scales[r] = from.scales[r * from.n_groups + g];
    put_scales(place, scales,
               parts[2].data() + (g * place.linear.rows + place.first) * scale_bytes(place));
  }
  if (awq || place.first != 0) return;
  for (std::size_t c = 0; c < from.cols; ++c)
    put_word(parts[3].data(), c, static_cast<std::uint32_t>(c / (from.cols / from.n_groups)));
}

void load_columns(const IntegerPlace& place, PartBytes parts, IntegerRows& into) {
  const bool awq = place.scheme.layout == WeightLayout::awq;
  (awq ? load_awq_codes : load_gptq_codes)(place, parts[0].data(), into);
  ZeroColumns(place).load(parts[1].data(), into);
  std::vector<float> scales(into.n_rows);
  for (std::size_t g = 0; g < into.n_groups; ++g) {
    get_scales(place, parts[2].data() + (g * place.linear.rows + place.first) * scale_bytes(place),
               scales);
    for (std::size_t r = 0; r < into.n_rows; ++r) into.scales[r * into.n_groups + g] = scales[r];
  }
}

/// Parts of ModelOpt: weight, scale (and the scale of activations, all 1): two rows a byte.
void store_row_pairs(const IntegerPlace& place, const IntegerRows& from, LinearBytes& parts) {
  const std::uint64_t at = place.first - place.origin;
  put_scales(place, from.scales, parts[1].data() + at * from.n_groups * scale_bytes(place));
  for (std::size_t r = 0; r < from.n_rows; r += 2) {
    const std::int8_t *low = from.codes.data() + r * from.cols, *high = low + from.cols;
    std::byte* out = parts[0].data() + (at + r) / 2 * from.cols;
    for (std::size_t c = 0; c < from.cols; ++c)
      out[c] = static_cast<std::byte>((low[c] & 15) | (high[c] & 15) << 4);
  }
  if (place.first != 0 || parts.size() < 3) return;
  const std::vector<float> ones(from.cols, 1.0f);
  traits(place.linear.type).encode(ones.data(), nullptr, parts[2].data(), ones.size());
}

void load_row_pairs(const IntegerPlace& place, PartBytes parts, IntegerRows& into) {
  const std::uint64_t at = place.first - place.origin;
  get_scales(place, parts[1].data() + at * into.n_groups * scale_bytes(place), into.scales);
  const auto with_sign = [](int nibble) { return static_cast<std::int8_t>((nibble ^ 8) - 8); };
  for (std::size_t r = 0; r < into.n_rows; r += 2) {
    std::int8_t *low = into.codes.data() + r * into.cols, *high = low + into.cols;
    const std::byte* from = parts[0].data() + (at + r) / 2 * into.cols;
    for (std::size_t c = 0; c < into.cols; ++c) {
      low[c] = with_sign(static_cast<int>(from[c]) & 15);
      high[c] = with_sign(static_cast<int>(from[c]) >> 4);
    }
  }
}

std::vector<LinearPart> column_parts(const WeightScheme& scheme, const Linear& linear) {
  const WordPacking packing{scheme.bits};
  const DTypeTraits& scale = traits(scheme.scales_for(linear.type));
  const std::uint64_t n_groups = groups_of(scheme, linear);
  const bool awq = scheme.layout == WeightLayout::awq;
  std::vector<LinearPart> parts = {
      awq ? LinearPart::of("qweight", "I32", 4, {linear.cols, packing.words(linear.rows)})
          : LinearPart::of("qweight", "I32", 4, {packing.words(linear.cols), linear.rows}),
      LinearPart::of("qzeros", "I32", 4, {n_groups, packing.words(linear.rows)}),
      LinearPart::of("scales", scale.name, scale.bytes, {n_groups, linear.rows})};
  if (!awq) parts.push_back(LinearPart::of("g_idx", "I32", 4, {linear.cols}));
  return parts;
}

}  // namespace

std::size_t group_of(const WeightScheme& scheme, const Linear& linear) {
  return static_cast<std::size_t>(scheme.scales == ScalesOf::group
                                      ? static_cast<std::uint64_t>(scheme.group_size)
                                      : linear.cols);
}

bool integers_by_columns(const WeightScheme& scheme) {
  return scheme.layout == WeightLayout::gptq || scheme.layout == WeightLayout::gptq_v2 ||
         scheme.layout == WeightLayout::awq;
}

std::vector<LinearPart> integer_parts(const WeightScheme& scheme, const Linear& linear) {
  if (integers_by_columns(scheme)) return column_parts(scheme, linear);
  const DTypeTraits& scale = traits(scheme.scales_for(linear.type));
  const std::uint64_t n_groups = groups_of(scheme, linear);
  const bool of_tensor = scheme.scales == ScalesOf::tensor;
  const LinearPart scales = LinearPart::of("weight_scale", scale.name, scale.bytes,
                                           {of_tensor ? 1 : linear.rows, n_groups}, kLinearChunk);
  if (scheme.layout == WeightLayout::modelopt) {
    std::vector<LinearPart> parts = {
        LinearPart::of("weight", "U8", 1, {linear.rows / 2, linear.cols}, kLinearChunk / 2),
        scales};
    const DTypeTraits& type = traits(linear.type);
    if (!linear.fused)
      parts.push_back(LinearPart::of("pre_quant_scale", type.name, type.bytes, {linear.cols}));
    return parts;
  }
  if (!scheme.is_packed()) {
    std::vector<LinearPart> parts = {
        LinearPart::of("weight", "I8", 1, {linear.rows, linear.cols}, kLinearChunk), scales};
    if (!scheme.symmetric)
      parts.push_back(
          LinearPart::of("weight_zero_point", "I8", 1, {linear.rows, n_groups}, kLinearChunk));
    return parts;
  }
  const auto words = [&](std::uint64_t n) -> std::uint64_t {
    return kernels::packed_words(n, scheme.bits);
  };
  std::vector<LinearPart> parts = {
      LinearPart::of("weight_packed", "I32", 4, {linear.rows, words(linear.cols)}, kLinearChunk),
      scales, LinearPart::of("weight_shape", "I64", 8, {2})};
  if (!scheme.symmetric)
    parts.push_back(LinearPart::of("weight_zero_point", "I32", 4, {words(linear.rows), n_groups},
                                   words(kLinearChunk)));
  return parts;
}

std::string integers_refused(const WeightScheme& scheme, const Linear& linear) {
  const auto refusal = [](const char* what, std::uint64_t n, std::uint64_t of) {
    return std::string(what) + " of " + std::to_string(n) + " values are not whole words of " +
           std::to_string(of) + ", as this format packs them";
  };
  if (scheme.layout == WeightLayout::modelopt && linear.rows % 2 != 0)
    return refusal("columns", linear.rows, 2);
  if (!integers_by_columns(scheme)) return {};
  const std::uint64_t together = WordPacking{scheme.bits}.codes_together();
  if (linear.rows % together != 0) return refusal("columns", linear.rows, together);
  if (linear.cols % together != 0 && scheme.layout != WeightLayout::awq)
    return refusal("rows", linear.cols, together);
  return {};
}

void store_integers(const IntegerPlace& place, const IntegerRows& from, LinearBytes& parts) {
  if (integers_by_columns(place.scheme)) return store_columns(place, from, parts);
  if (place.scheme.layout == WeightLayout::modelopt) return store_row_pairs(place, from, parts);
  store_rows(place, from, parts);
}

std::vector<std::span<const std::byte>> views_of(const LinearBytes& parts) {
  return {parts.begin(), parts.end()};
}

void load_integers(const IntegerPlace& place, PartBytes parts, IntegerRows& into) {
  std::fill(into.zeros.begin(), into.zeros.end(), std::int8_t{0});
  if (integers_by_columns(place.scheme)) return load_columns(place, parts, into);
  if (place.scheme.layout == WeightLayout::modelopt) return load_row_pairs(place, parts, into);
  load_rows(place, parts, into);
}

}  // namespace lq
