#include "lib/jobs/linear_layouts.h"

#include <array>
#include <cstring>

#include "lib/base/error.h"
#include "lib/jobs/journal.h"

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

void put_word(std::byte* at, std::uint64_t index, std::uint32_t word) {
  std::memcpy(at + index * sizeof word, &word, sizeof word);
}
std::uint32_t word_at(const std::byte* at, std::uint64_t index) {
  std::uint32_t word;
  std::memcpy(&word, at + index * sizeof word, sizeof word);
  return word;
}

void put_scale(DType type, float scale, std::byte* at, std::uint64_t index) {
  traits(type).encode(&scale, nullptr, at + index * traits(type).bytes, 1);
}
float scale_at(DType type, const std::byte* at, std::uint64_t index) {
  float scale;
  traits(type).decode(at + index * traits(type).bytes, &scale, 1);
  return scale;
}

/// Parts of compressed-tensors: weight, scale, shape, zero points; rows one after the other.
void store_rows(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                const IntegerRows& from, LinearBytes& parts) {
  const DType scale_type = scheme.scales_for(linear.type);
  for (std::size_t i = 0; i < from.scales.size(); ++i)
    put_scale(scale_type, from.scales[i], parts[1].data(), first * from.n_groups + i);
  if (!scheme.is_packed()) {
    std::memcpy(parts[0].data() + first * linear.cols, from.codes.data(), from.codes.size());
    return;
  }
  const std::size_t n_words = kernels::packed_words(from.cols, scheme.bits);
  std::vector<std::uint32_t> words(n_words);
  for (std::size_t r = 0; r < from.n_rows; ++r) {
    kernels::pack_codes(from.codes.data() + r * from.cols, from.cols, 1, scheme.bits, words.data());
    std::memcpy(parts[0].data() + (first + r) * n_words * sizeof(std::uint32_t), words.data(),
                n_words * sizeof(std::uint32_t));
  }
  if (first == 0) {
    const std::int64_t shape[2] = {static_cast<std::int64_t>(linear.rows),
                                   static_cast<std::int64_t>(linear.cols)};
    std::memcpy(parts[2].data(), shape, sizeof shape);
  }
  if (scheme.symmetric) return;
  // Zero points are packed down the columns: [words][groups].
  const std::size_t n_down = kernels::packed_words(from.n_rows, scheme.bits);
  const std::size_t above = kernels::packed_words(first, scheme.bits);
  std::vector<std::uint32_t> column(n_down);
  for (std::size_t g = 0; g < from.n_groups; ++g) {
    kernels::pack_codes(from.zeros.data() + g, from.n_rows, from.n_groups, scheme.bits,
                        column.data());
    for (std::size_t w = 0; w < n_down; ++w)
      put_word(parts[3].data(), (above + w) * from.n_groups + g, column[w]);
  }
}

void load_rows(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
               PartBytes parts, IntegerRows& into) {
  const DType scale_type = scheme.scales_for(linear.type);
  const bool of_tensor = scheme.scales == ScalesOf::tensor;
  for (std::size_t i = 0; i < into.scales.size(); ++i)
    into.scales[i] =
        scale_at(scale_type, parts[1].data(), of_tensor ? 0 : first * into.n_groups + i);
  if (!scheme.is_packed()) {
    std::memcpy(into.codes.data(), parts[0].data() + first * linear.cols, into.codes.size());
    if (!scheme.symmetric)
      std::memcpy(into.zeros.data(), parts[2].data() + first * into.n_groups, into.zeros.size());
    return;
  }
  const std::size_t n_words = kernels::packed_words(into.cols, scheme.bits);
  std::vector<std::uint32_t> words(n_words);
  for (std::size_t r = 0; r < into.n_rows; ++r) {
    for (std::size_t w = 0; w < n_words; ++w)
      words[w] = word_at(parts[0].data(), (first + r) * n_words + w);
    kernels::unpack_codes(words.data(), into.cols, 1, scheme.bits,
                          into.codes.data() + r * into.cols);
  }
  if (scheme.symmetric) return;
  const std::size_t n_down = kernels::packed_words(into.n_rows, scheme.bits);
  const std::size_t above = kernels::packed_words(first, scheme.bits);
  std::vector<std::uint32_t> column(n_down);
  for (std::size_t g = 0; g < into.n_groups; ++g) {
    for (std::size_t w = 0; w < n_down; ++w)
      column[w] = word_at(parts[3].data(), (above + w) * into.n_groups + g);
    kernels::unpack_codes(column.data(), into.n_rows, into.n_groups, scheme.bits,
                          into.zeros.data() + g);
  }
}

/// AutoAWQ interleaves the columns of a word.
constexpr std::array<int, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};

/// Parts of GPTQ and AWQ: weight, zero points, scales (and group of each column): columns of the
/// matrix one after the other. GPTQ packs its columns, AWQ its rows.
void store_columns(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                   const IntegerRows& from, LinearBytes& parts) {
  const bool awq = scheme.layout == WeightLayout::awq;
  const WordPacking packing{scheme.bits};
  const auto together = static_cast<std::size_t>(packing.codes_together());
  const auto n_words = static_cast<std::size_t>(packing.words_together());
  std::vector<std::int8_t> codes(together);
  std::uint32_t words[3] = {};
  const auto pack_down = [&](const std::int8_t* values, std::size_t stride) {
    for (std::size_t j = 0; j < together; ++j)
      codes[j] = values[(awq ? static_cast<std::size_t>(kAwqOrder[j]) : j) * stride];
    kernels::pack_codes(codes.data(), together, 1, scheme.bits, words);
  };
  const std::uint64_t across = packing.words(linear.rows);  // words of a row of zero points
  if (awq) {
    for (std::size_t r = 0; r < from.n_rows; r += together)
      for (std::size_t c = 0; c < from.cols; ++c) {
        pack_down(from.codes.data() + r * from.cols + c, from.cols);
        put_word(parts[0].data(), c * across + (first + r) / together, words[0]);
      }
  } else {
    for (std::size_t r = 0; r < from.n_rows; ++r)
      for (std::size_t c = 0; c < from.cols; c += together) {
        pack_down(from.codes.data() + r * from.cols + c, 1);
        for (std::size_t w = 0; w < n_words; ++w)
          put_word(parts[0].data(), (c / together * n_words + w) * linear.rows + first + r,
                   words[w]);
      }
  }
  const DType scale_type = scheme.scales_for(linear.type);
  // Version 1 of GPTQ stores what is one less.
  std::vector<std::int8_t> zeros = from.zeros;
  if (scheme.layout == WeightLayout::gptq)
    for (std::int8_t& zero : zeros) --zero;
  for (std::size_t g = 0; g < from.n_groups; ++g) {
    for (std::size_t r = 0; r < from.n_rows; r += together) {
      pack_down(zeros.data() + r * from.n_groups + g, from.n_groups);
      for (std::size_t w = 0; w < n_words; ++w)
        put_word(parts[1].data(), g * across + (first + r) / together * n_words + w, words[w]);
    }
    for (std::size_t r = 0; r < from.n_rows; ++r)
      put_scale(scale_type, from.scales[r * from.n_groups + g], parts[2].data(),
                g * linear.rows + first + r);
  }
  if (awq || first != 0) return;
  for (std::size_t c = 0; c < from.cols; ++c)
    put_word(parts[3].data(), c, static_cast<std::uint32_t>(c / (from.cols / from.n_groups)));
}

void load_columns(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                  PartBytes parts, IntegerRows& into) {
  const bool awq = scheme.layout == WeightLayout::awq;
  const WordPacking packing{scheme.bits};
  const auto together = static_cast<std::size_t>(packing.codes_together());
  const auto n_words = static_cast<std::size_t>(packing.words_together());
  std::vector<std::int8_t> codes(together);
  std::uint32_t words[3] = {};
  const auto unpack_down = [&](std::int8_t* values, std::size_t stride) {
    kernels::unpack_codes(words, together, 1, scheme.bits, codes.data());
    for (std::size_t j = 0; j < together; ++j)
      values[(awq ? static_cast<std::size_t>(kAwqOrder[j]) : j) * stride] = codes[j];
  };
  const std::uint64_t across = packing.words(linear.rows);
  if (awq) {
    for (std::size_t r = 0; r < into.n_rows; r += together)
      for (std::size_t c = 0; c < into.cols; ++c) {
        words[0] = word_at(parts[0].data(), c * across + (first + r) / together);
        unpack_down(into.codes.data() + r * into.cols + c, into.cols);
      }
  } else {
    for (std::size_t r = 0; r < into.n_rows; ++r)
      for (std::size_t c = 0; c < into.cols; c += together) {
        for (std::size_t w = 0; w < n_words; ++w)
          words[w] =
              word_at(parts[0].data(), (c / together * n_words + w) * linear.rows + first + r);
        unpack_down(into.codes.data() + r * into.cols + c, 1);
      }
  }
  const DType scale_type = scheme.scales_for(linear.type);
  for (std::size_t g = 0; g < into.n_groups; ++g) {
    for (std::size_t r = 0; r < into.n_rows; r += together) {
      for (std::size_t w = 0; w < n_words; ++w)
        words[w] = word_at(parts[1].data(), g * across + (first + r) / together * n_words + w);
      unpack_down(into.zeros.data() + r * into.n_groups + g, into.n_groups);
    }
    for (std::size_t r = 0; r < into.n_rows; ++r)
      into.scales[r * into.n_groups + g] =
          scale_at(scale_type, parts[2].data(), g * linear.rows + first + r);
  }
  // One more than what is stored; the largest wraps around.
  const int most = 1 << (scheme.bits - 1);
  if (scheme.layout == WeightLayout::gptq)
    for (std::int8_t& zero : into.zeros)
      zero = static_cast<std::int8_t>(zero + 1 == most ? -most : zero + 1);
}

/// Parts of ModelOpt: weight, scale (and the scale of activations, all 1): two rows a byte.
void store_row_pairs(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                     const IntegerRows& from, LinearBytes& parts) {
  const DType scale_type = scheme.scales_for(linear.type);
  for (std::size_t i = 0; i < from.scales.size(); ++i)
    put_scale(scale_type, from.scales[i], parts[1].data(), first * from.n_groups + i);
  for (std::size_t r = 0; r < from.n_rows; r += 2)
    for (std::size_t c = 0; c < from.cols; ++c) {
      const int low = from.codes[r * from.cols + c] & 15;
      const int high = from.codes[(r + 1) * from.cols + c] & 15;
      parts[0][(first + r) / 2 * linear.cols + c] = static_cast<std::byte>(low | high << 4);
    }
  if (first != 0 || parts.size() < 3) return;
  for (std::size_t c = 0; c < from.cols; ++c) put_scale(linear.type, 1, parts[2].data(), c);
}

void load_row_pairs(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                    PartBytes parts, IntegerRows& into) {
  const DType scale_type = scheme.scales_for(linear.type);
  for (std::size_t i = 0; i < into.scales.size(); ++i)
    into.scales[i] = scale_at(scale_type, parts[1].data(), first * into.n_groups + i);
  const auto with_sign = [](int nibble) {
    return static_cast<std::int8_t>(nibble < 8 ? nibble : nibble - 16);
  };
  for (std::size_t r = 0; r < into.n_rows; r += 2)
    for (std::size_t c = 0; c < into.cols; ++c) {
      const auto both = static_cast<int>(parts[0][(first + r) / 2 * linear.cols + c]);
      into.codes[r * into.cols + c] = with_sign(both & 15);
      into.codes[(r + 1) * into.cols + c] = with_sign(both >> 4);
    }
}

bool by_columns(const WeightScheme& scheme) {
  return scheme.layout == WeightLayout::gptq || scheme.layout == WeightLayout::gptq_v2 ||
         scheme.layout == WeightLayout::awq;
}

LinearPart integer_part(const char* suffix, const char* storage, std::uint64_t value_bytes,
                        std::vector<std::uint64_t> shape) {
  for (const std::uint64_t n : shape) value_bytes *= n;
  return {suffix, storage, std::move(shape), value_bytes, value_bytes};
}

std::vector<LinearPart> column_parts(const WeightScheme& scheme, const Linear& linear) {
  const WordPacking packing{scheme.bits};
  const DTypeTraits& scale = traits(scheme.scales_for(linear.type));
  const std::uint64_t n_groups = groups_of(scheme, linear);
  const bool awq = scheme.layout == WeightLayout::awq;
  std::vector<LinearPart> parts = {
      awq ? integer_part("qweight", "I32", 4, {linear.cols, packing.words(linear.rows)})
          : integer_part("qweight", "I32", 4, {packing.words(linear.cols), linear.rows}),
      integer_part("qzeros", "I32", 4, {n_groups, packing.words(linear.rows)}),
      integer_part("scales", scale.name, scale.bytes, {n_groups, linear.rows})};
  if (!awq) parts.push_back(integer_part("g_idx", "I32", 4, {linear.cols}));
  return parts;
}

}  // namespace

std::size_t group_of(const WeightScheme& scheme, const Linear& linear) {
  return static_cast<std::size_t>(scheme.scales == ScalesOf::group
                                      ? static_cast<std::uint64_t>(scheme.group_size)
                                      : linear.cols);
}

std::uint64_t digest_of(const IntegerRows& rows) {
  const std::uint64_t digests[] = {quick_digest(std::as_bytes(std::span(rows.codes))),
                                   quick_digest(std::as_bytes(std::span(rows.zeros))),
                                   quick_digest(std::as_bytes(std::span(rows.scales)))};
  return quick_digest(std::as_bytes(std::span(digests)));
}

std::vector<LinearPart> integer_parts(const WeightScheme& scheme, const Linear& linear) {
  if (by_columns(scheme)) return column_parts(scheme, linear);
  const DTypeTraits& scale = traits(scheme.scales_for(linear.type));
  const std::uint64_t n_groups = groups_of(scheme, linear);
  const bool of_tensor = scheme.scales == ScalesOf::tensor;
  const LinearPart scales = integer_part("weight_scale", scale.name, scale.bytes,
                                         {of_tensor ? 1 : linear.rows, n_groups});
  if (scheme.layout == WeightLayout::modelopt) {
    std::vector<LinearPart> parts = {
        integer_part("weight", "U8", 1, {linear.rows / 2, linear.cols}), scales};
    const DTypeTraits& type = traits(linear.type);
    if (!linear.fused)
      parts.push_back(integer_part("pre_quant_scale", type.name, type.bytes, {linear.cols}));
    return parts;
  }
  if (!scheme.is_packed()) {
    std::vector<LinearPart> parts = {integer_part("weight", "I8", 1, {linear.rows, linear.cols}),
                                     scales};
    if (!scheme.symmetric)
      parts.push_back(integer_part("weight_zero_point", "I8", 1, {linear.rows, n_groups}));
    return parts;
  }
  const auto words = [&](std::uint64_t n) -> std::uint64_t {
    return kernels::packed_words(n, scheme.bits);
  };
  std::vector<LinearPart> parts = {
      integer_part("weight_packed", "I32", 4, {linear.rows, words(linear.cols)}), scales,
      integer_part("weight_shape", "I64", 8, {2})};
  if (!scheme.symmetric)
    parts.push_back(integer_part("weight_zero_point", "I32", 4, {words(linear.rows), n_groups}));
  return parts;
}

std::string integers_refused(const WeightScheme& scheme, const Linear& linear) {
  const auto refusal = [](const char* what, std::uint64_t n, std::uint64_t of) {
    return std::string(what) + " of " + std::to_string(n) + " values are not whole words of " +
           std::to_string(of) + ", as this format packs them";
  };
  if (scheme.layout == WeightLayout::modelopt && linear.rows % 2 != 0)
    return refusal("columns", linear.rows, 2);
  if (!by_columns(scheme)) return {};
  const std::uint64_t together = WordPacking{scheme.bits}.codes_together();
  if (linear.rows % together != 0) return refusal("columns", linear.rows, together);
  if (linear.cols % together != 0 && scheme.layout != WeightLayout::awq)
    return refusal("rows", linear.cols, together);
  return {};
}

void store_integers(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                    const IntegerRows& from, LinearBytes& parts) {
  if (by_columns(scheme)) return store_columns(scheme, linear, first, from, parts);
  if (scheme.layout == WeightLayout::modelopt)
    return store_row_pairs(scheme, linear, first, from, parts);
  store_rows(scheme, linear, first, from, parts);
}

void load_integers(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                   PartBytes parts, IntegerRows& into) {
  if (by_columns(scheme)) return load_columns(scheme, linear, first, parts, into);
  if (scheme.layout == WeightLayout::modelopt)
    return load_row_pairs(scheme, linear, first, parts, into);
  load_rows(scheme, linear, first, parts, into);
}

}  // namespace lq
