// Rows of a quantized matrix made as a storage type, with the values that the checkpoint means.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/blocks/e4m3.h"
#include "kernels/blocks/fp4_16.h"
#include "kernels/blocks/i4.h"
#include "kernels/blocks/i8.h"
#include "kernels/blocks/mxfp4.h"
#include "kernels/blocks/nf4.h"
#include "kernels/blocks/nvfp4.h"
#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/linear_layouts.h"
#include "lib/jobs/stored_matrix.h"

namespace lq {
namespace {

/// Rows on their way: `first` is the number of the first one.
struct RowsOut {
  const StoredMatrix& matrix;
  std::uint64_t first, n;
  std::byte* out;

  std::uint64_t cols() const { return matrix.linear.cols; }
  std::byte* row(std::uint64_t r) const {
    return out + r * traits(matrix.type).row_bytes(static_cast<std::size_t>(cols()));
  }
  const std::uint8_t* bytes(std::size_t part) const {
    return reinterpret_cast<const std::uint8_t*>(matrix.parts[part].data());
  }
};

template <class... What>
[[noreturn]] void bad_part(const StoredMatrix& matrix, std::size_t part, const What&... what) {
  fail(ErrorKind::input, matrix.file, ": tensor ", quote(matrix.part_names[part]), ": ", what...);
}

/// A number of a part, which has to be finite.
float number_in(const StoredMatrix& matrix, std::size_t part, DType type, std::uint64_t index) {
  float value;
  traits(type).decode(matrix.parts[part].data() + index * traits(type).bytes, &value, 1);
  if (!std::isfinite(value))
    bad_part(matrix, part, "value ", index, " is ", value, "; scales have to be finite");
  return value;
}

/// Calls make(block, b) for each block of a row and stores it.
template <class Block, class Make>
void put_blocks(std::uint64_t cols, std::byte* out, const Make& make) {
  for (std::uint64_t b = 0; b < cols / Block::kValues; ++b) {
    Block block;
    make(block, b);
    std::memcpy(out + b * sizeof block, &block, sizeof block);
  }
}

void put_floats(const std::vector<float>& row, std::byte* out) {
  std::memcpy(out, row.data(), row.size() * sizeof(float));
}

// Integers.

template <int N>
void put_four_bits(const IntegerRows& made, std::size_t r, std::size_t group, std::byte* out) {
  const std::int8_t* codes = made.codes.data() + r * made.cols;
  put_blocks<kernels::BlockI4<N>>(made.cols, out, [&](kernels::BlockI4<N>& block, std::size_t b) {
    const std::size_t g = r * made.n_groups + b * N / group;
    block.scale = made.scales[g];
    block.zero = static_cast<std::uint8_t>(made.zeros[g] + 8);
    for (std::size_t j = 0; j < N / 2; ++j) {
      const int low = codes[b * N + 2 * j] + 8, high = codes[b * N + 2 * j + 1] + 8;
      block.code[j] = static_cast<std::uint8_t>(low | high << 4);
    }
  });
}

template <int N>
void put_eight_bits(const IntegerRows& made, std::size_t r, std::size_t group, std::byte* out) {
  const std::int8_t* codes = made.codes.data() + r * made.cols;
  put_blocks<kernels::BlockI8<N>>(made.cols, out, [&](kernels::BlockI8<N>& block, std::size_t b) {
    block.scale = made.scales[r * made.n_groups + b * N / group];
    std::memcpy(block.code, codes + b * N, N);
  });
}

void put_integers_as_floats(const StoredMatrix& matrix, const IntegerRows& made, std::size_t r,
                            std::size_t group, std::byte* out) {
  std::vector<float> row(made.cols);
  for (std::size_t c = 0; c < made.cols; ++c) {
    const std::size_t of_column =
        matrix.column_groups.empty() ? c / group : matrix.column_groups[c];
    const std::size_t g = r * made.n_groups + of_column;
    row[c] = static_cast<float>(made.codes[r * made.cols + c] - made.zeros[g]) * made.scales[g];
    if (!matrix.column_factors.empty()) row[c] *= matrix.column_factors[c];
  }
  put_floats(row, out);
}

void check_integers(const StoredMatrix& matrix, const IntegerRows& made, std::uint64_t first) {
  const auto& names = matrix.part_names;
  for (std::size_t i = 0; i < made.scales.size(); ++i) {
    if (std::isfinite(made.scales[i])) continue;
    const auto of_scales = std::find_if(names.begin(), names.end(), [](const std::string& name) {
      return name.ends_with("scale") || name.ends_with("scales");
    });
    bad_part(matrix, static_cast<std::size_t>(of_scales - names.begin()), "the scale of row ",
             first + i / made.n_groups, ", group ", i % made.n_groups, " is ", made.scales[i],
             "; scales have to be finite");
  }
  const bool has_zeros = names.size() > 1 && names[1].ends_with("qzeros");
  if (!has_zeros || !matrix.scheme.symmetric || matrix.scheme.bits != 8) return;
  for (std::size_t i = 0; i < made.zeros.size(); ++i)
    if (made.zeros[i] != 0)
      bad_part(matrix, 1, "the zero point of row ", first + i / made.n_groups, ", group ",
               i % made.n_groups, " is ", made.zeros[i] + 128,
               "; expected 128, since the configuration says sym");
}

void make_integers(const RowsOut& rows) {
  const StoredMatrix& matrix = rows.matrix;
  const std::size_t group = group_of(matrix.scheme, matrix.linear);
  IntegerRows made;
  made.resize(static_cast<std::size_t>(rows.n), static_cast<std::size_t>(rows.cols()),
              static_cast<std::size_t>(rows.cols()) / group);
  const kernels::GroupKernels& unpacking =
      choose_cpu_kernels().groups[static_cast<int>(kernels::Precision::f32)];
  load_integers({matrix.scheme, matrix.linear, unpacking, rows.first, 0}, matrix.parts, made);
  check_integers(matrix, made, rows.first);
  for (std::size_t r = 0; r < made.n_rows; ++r) {
    std::byte* out = rows.row(r);
    if (matrix.type == DType::I4_128)
      put_four_bits<128>(made, r, group, out);
    else if (matrix.type == DType::I4_32)
      put_four_bits<32>(made, r, group, out);
    else if (matrix.type == DType::I8_128)
      put_eight_bits<128>(made, r, group, out);
    else if (matrix.type == DType::I8_32)
      put_eight_bits<32>(made, r, group, out);
    else
      put_integers_as_floats(matrix, made, r, group, out);
  }
}

// Floats of 8 bits.

void check_e4m3(const RowsOut& rows, std::uint64_t r) {
  const std::uint8_t* codes = rows.bytes(0) + (rows.first + r) * rows.cols();
  // Eight codes at a time: one more than 0x7f reaches the sign's place.
  std::uint64_t bad = 0, c = 0;
  for (; c + 8 <= rows.cols(); c += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, codes + c, sizeof eight);
    bad |= (eight & 0x7f7f7f7f7f7f7f7f) + 0x0101010101010101;
  }
  for (; c < rows.cols(); ++c) bad |= (codes[c] & 0x7fu) + 1;
  if ((bad & 0x8080808080808080) == 0) return;
  const auto* at = std::find_if(codes, codes + rows.cols(),
                                [](std::uint8_t code) { return (code & 0x7f) == 0x7f; });
  bad_part(rows.matrix, 0, "row ", rows.first + r, ", column ", at - codes,
           " is not a number; weights have to be finite");
}

/// `scale_at(row, column)` is the factor of a value and its neighbours.
template <class ScaleAt>
void make_e4m3_with(const RowsOut& rows, const ScaleAt& scale_at) {
  const auto put = [&]<int N>(std::uint64_t r, const std::uint8_t* codes) {
    put_blocks<kernels::BlockE4M3<N>>(rows.cols(), rows.row(r),
                                      [&](kernels::BlockE4M3<N>& block, std::uint64_t b) {
                                        block.scale = scale_at(rows.first + r, b * N);
                                        std::memcpy(block.code, codes + b * N, N);
                                      });
  };
  std::vector<float> values(rows.matrix.type == DType::F32 ? rows.cols() : 0);
  for (std::uint64_t r = 0; r < rows.n; ++r) {
    check_e4m3(rows, r);
    const std::uint8_t* codes = rows.bytes(0) + (rows.first + r) * rows.cols();
    if (rows.matrix.type == DType::E4M3_128) {
      put.template operator()<128>(r, codes);
    } else if (rows.matrix.type == DType::E4M3_32) {
      put.template operator()<32>(r, codes);
    } else {
      for (std::uint64_t c = 0; c < rows.cols(); ++c)
        values[c] = kernels::e4m3_to_float(codes[c]) * scale_at(rows.first + r, c);
      put_floats(values, rows.row(r));
    }
  }
}

void make_e4m3(const RowsOut& rows) {
  const StoredMatrix& m = rows.matrix;
  const std::uint64_t across = (m.linear.cols - 1) / m.scale_cols + 1;
  make_e4m3_with(rows, [&](std::uint64_t r, std::uint64_t c) {
    return number_in(m, 1, m.linear.type, r / m.scale_rows * across + c / m.scale_cols);
  });
}

void make_e5m2(const RowsOut& rows) {
  const StoredMatrix& m = rows.matrix;
  const std::uint64_t across = (m.linear.cols - 1) / m.scale_cols + 1;
  std::vector<float> values(rows.cols());
  for (std::uint64_t r = 0; r < rows.n; ++r) {
    const std::uint64_t row = rows.first + r;
    for (std::uint64_t c = 0; c < rows.cols(); ++c) {
      // The upper half of a binary16.
      const float value = kernels::half_to_float(
          static_cast<std::uint16_t>(rows.bytes(0)[row * rows.cols() + c] << 8));
      if (!std::isfinite(value))
        bad_part(m, 0, "row ", row, ", column ", c, " is ", value, "; weights have to be finite");
      values[c] =
          value * number_in(m, 1, m.linear.type, row / m.scale_rows * across + c / m.scale_cols);
    }
    put_floats(values, rows.row(r));
  }
}

// Groups under a power of two.

std::uint8_t power_in(const StoredMatrix& matrix, std::uint64_t index) {
  const auto code = static_cast<std::uint8_t>(matrix.parts[1][index]);
  if (code == 255) bad_part(matrix, 1, "value ", index, " is not a number; expected an exponent");
  return code;
}

void make_mxfp8(const RowsOut& rows) {
  const std::uint64_t n_groups = rows.cols() / 32;
  make_e4m3_with(rows, [&](std::uint64_t r, std::uint64_t c) {
    return std::ldexp(1.0f, power_in(rows.matrix, r * n_groups + c / 32) - 127);
  });
}

/// A place of 4 bits, low ones first.
int low_first(const std::uint8_t* codes, std::uint64_t i) {
  return i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
}

void make_mxfp4(const RowsOut& rows) {
  const std::uint64_t n_groups = rows.cols() / 32;
  for (std::uint64_t r = 0; r < rows.n; ++r)
    put_blocks<kernels::BlockMXFP4>(
        rows.cols(), rows.row(r), [&](kernels::BlockMXFP4& block, std::uint64_t b) {
          const std::uint64_t at = (rows.first + r) * n_groups + b;
          const std::uint8_t* codes = rows.bytes(0) + at * 16;
          block.exponent = power_in(rows.matrix, at);
          for (std::uint64_t j = 0; j < 16; ++j)
            block.code[j] =
                static_cast<std::uint8_t>(low_first(codes, j) | low_first(codes, j + 16) << 4);
        });
}

// NVFP4.

std::uint8_t nvfp4_scale(const StoredMatrix& matrix, std::uint64_t index) {
  const auto code = static_cast<std::uint8_t>(matrix.parts[1][index]);
  if ((code & 0x7f) == 0x7f || code > 0x80)
    bad_part(matrix, 1, "value ", index, " is ", (code & 0x7f) == 0x7f ? "not a number" : "below 0",
             "; expected a scale");
  return code;
}

void make_nvfp4(const RowsOut& rows) {
  const StoredMatrix& matrix = rows.matrix;
  const std::uint64_t cols = rows.cols(), n_groups = cols / 16;
  std::vector<float> values(matrix.type == DType::F32 ? cols : 0);
  for (std::uint64_t r = 0; r < rows.n; ++r) {
    const std::uint64_t group = (rows.first + r) * n_groups;
    const std::uint8_t* codes = rows.bytes(0) + group * 8;
    if (matrix.type == DType::FP4_16) {
      put_blocks<kernels::BlockFP4_16>(cols, rows.row(r),
                                       [&](kernels::BlockFP4_16& block, std::uint64_t b) {
                                         block.divisor = matrix.divisor;
                                         for (std::uint64_t g = 0; g < 4; ++g)
                                           block.scale[g] = nvfp4_scale(matrix, group + b * 4 + g);
                                         std::memcpy(block.code, codes + b * 32, 32);
                                       });
    } else if (matrix.type == DType::NVFP4) {
      put_blocks<kernels::BlockNVFP4>(
          cols, rows.row(r), [&](kernels::BlockNVFP4& block, std::uint64_t b) {
            for (std::uint64_t g = 0; g < 4; ++g) {
              block.scale[g] = nvfp4_scale(matrix, group + b * 4 + g) & 0x7f;
              const std::uint8_t* from = codes + b * 32 + g * 8;
              for (std::uint64_t j = 0; j < 8; ++j)
                block.code[g * 8 + j] =
                    static_cast<std::uint8_t>(low_first(from, j) | low_first(from, j + 8) << 4);
            }
          });
    } else {
      for (std::uint64_t c = 0; c < cols; ++c)
        values[c] = kernels::fp4_to_float(static_cast<std::uint32_t>(low_first(codes, c))) *
                    (kernels::e4m3_to_float(nvfp4_scale(matrix, group + c / 16)) / matrix.divisor);
      put_floats(values, rows.row(r));
    }
  }
}

// bitsandbytes: parts are codes, scales, table, state (, scales of scales, their table).

float block_scale(const StoredMatrix& matrix, std::uint64_t block) {
  if (!matrix.scheme.nested) return number_in(matrix, 1, DType::F32, block);
  const auto code = static_cast<std::uint8_t>(matrix.parts[1][block]);
  const float factor = number_in(matrix, 4, DType::F32, block / matrix.nested_block);
  const float scale = number_in(matrix, 5, DType::F32, code) * factor + matrix.nested_offset;
  if (!std::isfinite(scale)) bad_part(matrix, 1, "the scale of block ", block, " is ", scale);
  return scale;
}

template <class Block>
void make_table_blocks(const RowsOut& rows) {
  for (std::uint64_t r = 0; r < rows.n; ++r)
    put_blocks<Block>(rows.cols(), rows.row(r), [&](Block& block, std::uint64_t b) {
      const std::uint64_t at = (rows.first + r) * rows.cols() + b * 64;
      block.scale = block_scale(rows.matrix, at / rows.matrix.block);
      std::memcpy(block.code, rows.bytes(0) + at / 2, 32);
    });
}

void make_table_floats(const RowsOut& rows) {
  float table[16];
  std::memcpy(table, rows.matrix.parts[2].data(), sizeof table);
  std::vector<float> values(rows.cols());
  for (std::uint64_t r = 0; r < rows.n; ++r) {
    float scale = 0;
    for (std::uint64_t c = 0; c < rows.cols(); ++c) {
      const std::uint64_t at = (rows.first + r) * rows.cols() + c;
      if (c == 0 || at % rows.matrix.block == 0)
        scale = block_scale(rows.matrix, at / rows.matrix.block);
      const std::uint8_t both = rows.bytes(0)[at / 2];
      values[c] = table[at % 2 == 0 ? both >> 4 : both & 15] * scale;
    }
    put_floats(values, rows.row(r));
  }
}

void make_eight_bits(const RowsOut& rows) {
  IntegerRows made;
  made.resize(1, static_cast<std::size_t>(rows.cols()), 1);
  for (std::uint64_t r = 0; r < rows.n; ++r) {
    const std::uint64_t row = rows.first + r;
    std::memcpy(made.codes.data(), rows.bytes(0) + row * rows.cols(), made.cols);
    made.scales[0] = number_in(rows.matrix, 1, DType::F32, row) * static_cast<float>(1.0 / 127);
    if (rows.matrix.type == DType::I8_128)
      put_eight_bits<128>(made, 0, made.cols, rows.row(r));
    else if (rows.matrix.type == DType::I8_32)
      put_eight_bits<32>(made, 0, made.cols, rows.row(r));
    else
      put_integers_as_floats(rows.matrix, made, 0, made.cols, rows.row(r));
  }
}

}  // namespace

void StoredMatrix::make_rows(std::uint64_t first, std::uint64_t n, std::byte* out) const {
  const RowsOut rows{.matrix = *this, .first = first, .n = n, .out = out};
  switch (scheme.number) {
    case WeightNumber::integer:
      return make_integers(rows);
    case WeightNumber::e4m3:
      return make_e4m3(rows);
    case WeightNumber::e5m2:
      return make_e5m2(rows);
    case WeightNumber::nvfp4:
      return make_nvfp4(rows);
    case WeightNumber::mxfp4:
      return make_mxfp4(rows);
    case WeightNumber::mxfp8:
      return make_mxfp8(rows);
    case WeightNumber::bnb_int8:
      return make_eight_bits(rows);
    case WeightNumber::bnb_nf4:
    case WeightNumber::bnb_fp4:
      if (type == DType::NF4) return make_table_blocks<kernels::BlockNF4>(rows);
      if (type == DType::FP4) return make_table_blocks<kernels::BlockFP4>(rows);
      return make_table_floats(rows);
  }
}

}  // namespace lq
