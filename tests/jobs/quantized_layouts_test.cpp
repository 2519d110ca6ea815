// Layouts that we read and do not write: values written down from what each format means.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "kernels/small_floats.h"
#include "tests/support/errors.h"
#include "tests/support/memory_folder.h"

namespace lq {
namespace {

using test::MemoryFolder;
using test::values_in;

/// [rows][cols] of value(row, column).
std::vector<float> matrix_of(int rows, int cols, const std::function<float(int, int)>& value) {
  std::vector<float> values;
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c) values.push_back(value(r, c));
  return values;
}

/// Codes of `bits` in 32-bit words: code(i, j) is the j-th of the words of line i.
std::vector<std::uint32_t> words_of(int lines, int codes, int bits,
                                    const std::function<int(int, int)>& code) {
  std::vector<std::uint32_t> words;
  for (int i = 0; i < lines; ++i)
    for (int at = 0; at < codes; at += 32 / bits) {
      std::uint32_t word = 0;
      for (int j = 0; j < 32 / bits; ++j)
        word |= static_cast<std::uint32_t>(code(i, at + j)) << (j * bits);
      words.push_back(word);
    }
  return words;
}

std::uint16_t half(float x) {
  std::uint16_t stored;
  traits(DType::F16).encode(&x, nullptr, &stored, 1);
  return stored;
}

DType type_in(const QuantizedFolder& folder, const char* name) {
  return folder.tensors()[folder.find(name).value()].type;
}
ActivationRounding rounding_in(const QuantizedFolder& folder, const char* name) {
  return folder.activations(folder.find(name).value());
}

Json gptq(int bits, const char* format, bool symmetric) {
  return {{"quant_method", "gptq"}, {"bits", bits},     {"group_size", 32},
          {"desc_act", true},       {"sym", symmetric}, {"checkpoint_format", format}};
}

/// A matrix [8][64] of 4-bit codes in groups `group_of(column)`, as GPTQ has it.
void add_gptq(MemoryFolder& folder, const std::string& module,
              const std::function<int(int)>& group_of) {
  // Words hold columns of the matrix one after the other: [64 / 8][8].
  std::vector<std::uint32_t> words(64);
  for (int c = 0; c < 64; ++c)
    for (int r = 0; r < 8; ++r)
      words[static_cast<std::size_t>(c / 8 * 8 + r)] |=
          static_cast<std::uint32_t>((3 * r + 5 * c) % 16) << (c % 8 * 4);
  std::vector<std::uint16_t> scales;
  for (int g = 0; g < 2; ++g)
    for (int r = 0; r < 8; ++r) scales.push_back(half(0.25f * static_cast<float>(g + 1 + r)));
  std::vector<std::int32_t> groups;
  for (int c = 0; c < 64; ++c) groups.push_back(group_of(c));
  folder.add(module + ".qweight", "I32", {8, 8}, words)
      .add(module + ".qzeros", "I32", {2, 1},
           words_of(2, 8, 4, [](int g, int r) { return (r + 9 * g) % 16; }))
      .add(module + ".scales", "F16", {2, 8}, scales)
      .add(module + ".g_idx", "I32", {64}, groups);
}

float gptq_value(int r, int c, int group, int zero_more) {
  const int zero = ((r + 9 * group) % 16 + zero_more) % 16;
  return static_cast<float>((3 * r + 5 * c) % 16 - zero) * 0.25f *
         static_cast<float>(group + 1 + r);
}

/// A matrix [8][64] of NVFP4 codes: group g of row r has the scale code 0x30 + g + r.
std::vector<std::uint8_t> fp4_codes() {
  std::vector<std::uint8_t> codes;
  for (int i = 0; i < 8 * 32; ++i) codes.push_back(static_cast<std::uint8_t>(i * 37));
  return codes;
}
std::vector<std::uint8_t> fp4_scales() {
  std::vector<std::uint8_t> scales;
  for (int i = 0; i < 8 * 4; ++i) scales.push_back(static_cast<std::uint8_t>(0x30 + i % 4 + i / 4));
  return scales;
}
float fp4_value(int r, int c, float divisor) {
  const auto both = static_cast<std::uint8_t>((r * 32 + c / 2) * 37);
  const auto scale = static_cast<std::uint8_t>(0x30 + c / 16 + r);
  return kernels::fp4_to_float(c % 2 == 0 ? both & 15u : both >> 4) *
         (kernels::e4m3_to_float(scale) / divisor);
}

std::vector<std::uint8_t> e4m3_codes(int n) {
  std::vector<std::uint8_t> codes;
  for (int i = 0; i < n; ++i) codes.push_back(static_cast<std::uint8_t>(i * 11 % 120));
  return codes;
}
float e4m3_at(int i) { return kernels::e4m3_to_float(static_cast<std::uint8_t>(i * 11 % 120)); }

}  // namespace

TEST_CASE(
    "quantized layouts: GPTQ with groups in another order, zero points that wrap, and rules") {
  Json config = gptq(4, "gptq_v2", false);
  config["dynamic"] = {{"-:.*kept", Json::object()}, {"+:.*eight", {{"bits", 8}, {"sym", true}}}};
  MemoryFolder folder(config);
  const auto shuffled = [](int c) { return c / 3 % 2; };
  add_gptq(folder, "a.mixed", shuffled);
  add_gptq(folder, "a.plain", [](int c) { return c / 32; });
  folder.add("a.kept.weight", "F32", {1, 2}, std::vector<float>{1, 2});
  folder.add("a.eight.qweight", "I32", {8, 4}, std::vector<std::uint32_t>(32, 0x017f80ffu))
      .add("a.eight.qzeros", "I32", {1, 1}, std::vector<std::uint32_t>{0x80808080u})
      .add("a.eight.scales", "F16", {1, 4}, std::vector<std::uint16_t>(4, half(0.5f)))
      .add("a.eight.g_idx", "I32", {32}, std::vector<std::int32_t>(32, 0));
  const QuantizedFolder read = folder.open();
  CHECK(type_in(read, "a.mixed.weight") == DType::F32);
  CHECK(values_in(read, "a.mixed.weight") ==
        matrix_of(8, 64, [&](int r, int c) { return gptq_value(r, c, shuffled(c), 0); }));
  CHECK(type_in(read, "a.plain.weight") == DType::I4_32);
  CHECK(values_in(read, "a.plain.weight") ==
        matrix_of(8, 64, [](int r, int c) { return gptq_value(r, c, c / 32, 0); }));
  CHECK(type_in(read, "a.eight.weight") == DType::I8_32);
  const float eight[] = {63.5f, 0, -0.5f, -63.5f};
  CHECK(values_in(read, "a.eight.weight") ==
        matrix_of(4, 32, [&](int, int c) { return eight[c % 4]; }));
  // Plain tensors stay where they were, matrices made of others come last.
  CHECK(read.tensors().front().name == "a.kept.weight");
  CHECK(read.tensors().size() == 4);

  MemoryFolder first(gptq(4, "gptq", false));
  add_gptq(first, "m", [](int c) { return c / 32; });
  CHECK(values_in(first.open(), "m.weight") ==
        matrix_of(8, 64, [](int r, int c) { return gptq_value(r, c, c / 32, 1); }));
}

TEST_CASE("quantized layouts: FP8 with a scale a tensor, a row, and small blocks") {
  MemoryFolder tensor({{"quant_method", "fp8"}, {"activation_scheme", "static"}});
  tensor.add("m.weight", "F8_E4M3", {2, 32}, e4m3_codes(64))
      .add("m.weight_scale", "F32", {}, std::vector<float>{0.3f})
      .add("m.input_scale", "F32", {}, std::vector<float>{0.125f})
      .add("n.weight", "F8_E4M3", {2, 40}, e4m3_codes(80))
      .add("n.weight_scale", "F32", {2, 1}, std::vector<float>{0.3f, 0.7f})
      .add("attn.k_scale", "F32", {1}, std::vector<float>{1});
  const QuantizedFolder read = tensor.open();
  CHECK(read.tensors().size() == 2);
  CHECK(type_in(read, "m.weight") == DType::E4M3_32);
  CHECK(values_in(read, "m.weight") ==
        matrix_of(2, 32, [](int r, int c) { return e4m3_at(r * 32 + c) * 0.3f; }));
  CHECK(rounding_in(read, "m.weight") == ActivationRounding{ActivationScheme::fp8_tensor, 0.125f});
  CHECK(type_in(read, "n.weight") == DType::F32);
  CHECK(values_in(read, "n.weight") == matrix_of(2, 40, [](int r, int c) {
          return e4m3_at(r * 40 + c) * (r == 0 ? 0.3f : 0.7f);
        }));

  MemoryFolder blocks({{"quant_method", "fp8"}, {"weight_block_size", {2, 64}}});
  blocks.add("m.weight", "F8_E4M3", {3, 96}, e4m3_codes(288))
      .add("m.weight_scale_inv", "F32", {2, 2}, std::vector<float>{0.5f, 0.3f, 0.7f, 3});
  const QuantizedFolder small = blocks.open();
  CHECK(type_in(small, "m.weight") == DType::E4M3_32);
  const float scales[] = {0.5f, 0.3f, 0.7f, 3};
  CHECK(values_in(small, "m.weight") == matrix_of(3, 96, [&](int r, int c) {
          return e4m3_at(r * 96 + c) * scales[r / 2 * 2 + c / 64];
        }));
}

TEST_CASE("quantized layouts: ModelOpt's FP8, NVFP4, and integers with factors of columns") {
  MemoryFolder folder({{"quant_method", "modelopt"},
                       {"quant_algo", "MIXED_PRECISION"},
                       {"quantized_layers",
                        {{"f", {{"quant_algo", "FP8"}}},
                         {"n", {{"quant_algo", "NVFP4"}}},
                         {"w", {{"quant_algo", "W4A16_AWQ"}, {"group_size", 32}}}}}});
  std::vector<float> factors(32, 1);
  factors[3] = 2.5f;
  std::vector<std::uint8_t> pairs(32);
  for (std::size_t c = 0; c < 32; ++c)
    pairs[c] = static_cast<std::uint8_t>(c % 16 | (15 - c % 16) << 4);
  folder.add("f.weight", "F8_E4M3", {1, 32}, e4m3_codes(32))
      .add("f.weight_scale", "F32", {1}, std::vector<float>{0.3f})
      .add("f.input_scale", "F32", {1}, std::vector<float>{2})
      .add("n.weight", "U8", {8, 32}, fp4_codes())
      .add("n.weight_scale", "F8_E4M3", {8, 4}, fp4_scales())
      .add("n.weight_scale_2", "F32", {}, std::vector<float>{0.25f})
      .add("n.input_scale", "F32", {}, std::vector<float>{0.5f})
      .add("w.weight", "U8", {1, 32}, pairs)
      .add("w.weight_scale", "F32", {2, 1}, std::vector<float>{0.3f, 0.7f})
      .add("w.pre_quant_scale", "F32", {32}, factors);
  const QuantizedFolder read = folder.open();
  CHECK(read.tensors().front().name == "n.weight");
  CHECK(rounding_in(read, "f.weight") == ActivationRounding{ActivationScheme::fp8_tensor, 2});
  CHECK(values_in(read, "f.weight") ==
        matrix_of(1, 32, [](int, int c) { return e4m3_at(c) * 0.3f; }));
  CHECK(type_in(read, "n.weight") == DType::FP4_16);
  CHECK(rounding_in(read, "n.weight") == ActivationRounding{ActivationScheme::fp4_group, 2});
  CHECK(values_in(read, "n.weight") ==
        matrix_of(8, 64, [](int r, int c) { return fp4_value(r, c, 4); }));
  CHECK(type_in(read, "w.weight") == DType::F32);
  CHECK(values_in(read, "w.weight") == matrix_of(2, 32, [&](int r, int c) {
          const int nibble = r == 0 ? c % 16 : 15 - c % 16;
          const auto code = static_cast<float>(nibble < 8 ? nibble : nibble - 16);
          return code * (r == 0 ? 0.3f : 0.7f) * factors[static_cast<std::size_t>(c)];
        }));
  const QuantizedFolder for_files = folder.open(Nvfp4As::gguf);
  CHECK(type_in(for_files, "n.weight") == DType::NVFP4);
  CHECK(for_files.matrix(0)->tensor_scale == 0.25f);
  CHECK(for_files.matrix(0)->input_scale == 0.5f);
  auto values = values_in(for_files, "n.weight");
  for (float& value : values) value = value * 0.25f + 0.0f;
  CHECK(values == matrix_of(8, 64, [](int r, int c) { return fp4_value(r, c, 4) + 0.0f; }));
}

TEST_CASE("quantized layouts: groups of compressed-tensors with schemes of their own") {
  const auto group = [](const char* format, Json targets, Json weights, Json activations) {
    return Json{{"format", format},
                {"targets", std::move(targets)},
                {"weights", std::move(weights)},
                {"input_activations", std::move(activations)}};
  };
  const Json floats = {
      {"num_bits", 4}, {"type", "float"}, {"strategy", "tensor_group"}, {"group_size", 16}};
  MemoryFolder folder(
      {{"quant_method", "compressed-tensors"},
       {"format", "mixed-precision"},
       {"ignore", {"kept"}},
       {"config_groups",
        {{"group_0", group("int-quantized", {"Linear"},
                           {{"num_bits", 8}, {"strategy", "channel"}, {"symmetric", false}},
                           {{"num_bits", 8}, {"strategy", "tensor"}, {"dynamic", false}})},
         {"group_1",
          group("nvfp4-pack-quantized", {"re:.*[.]n$"}, floats,
                {{"num_bits", 4}, {"type", "float"}, {"group_size", 16}, {"dynamic", "local"}})},
         {"group_2", group("naive-quantized", {"a.t"}, {{"num_bits", 8}, {"strategy", "tensor"}},
                           nullptr)}}}});
  std::vector<std::int8_t> codes;
  for (int i = 0; i < 64; ++i) codes.push_back(static_cast<std::int8_t>(i * 29));
  folder.add("a.i.weight", "I8", {2, 32}, codes)
      .add("a.i.weight_scale", "F32", {2, 1}, std::vector<float>{0.3f, 0.7f})
      .add("a.i.weight_zero_point", "I8", {2, 1}, std::vector<std::int8_t>{-3, 5})
      .add("a.i.input_scale", "F32", {1}, std::vector<float>{0.5f})
      .add("a.n.weight_packed", "U8", {8, 32}, fp4_codes())
      .add("a.n.weight_scale", "F8_E4M3", {8, 4}, fp4_scales())
      .add("a.n.weight_global_scale", "F32", {1}, std::vector<float>{3})
      .add("a.n.input_global_scale", "F32", {1}, std::vector<float>{7})
      .add("a.t.weight", "I8", {2, 32}, codes)
      .add("a.t.weight_scale", "F32", {1}, std::vector<float>{0.3f})
      .add("kept.weight", "F32", {1, 1}, std::vector<float>{1});
  const QuantizedFolder read = folder.open();
  const auto code = [&](int r, int c) { return codes[static_cast<std::size_t>(r * 32 + c)]; };
  CHECK(type_in(read, "a.i.weight") == DType::F32);
  CHECK(values_in(read, "a.i.weight") == matrix_of(2, 32, [&](int r, int c) {
          return static_cast<float>(code(r, c) - (r == 0 ? -3 : 5)) * (r == 0 ? 0.3f : 0.7f);
        }));
  CHECK(rounding_in(read, "a.i.weight") == ActivationRounding{ActivationScheme::int8_token, 0.5f});
  CHECK(values_in(read, "a.n.weight") ==
        matrix_of(8, 64, [](int r, int c) { return fp4_value(r, c, 3); }));
  CHECK(rounding_in(read, "a.n.weight") == ActivationRounding{ActivationScheme::fp4_group, 7});
  CHECK(type_in(read, "a.t.weight") == DType::I8_32);
  CHECK(values_in(read, "a.t.weight") ==
        matrix_of(2, 32, [&](int r, int c) { return static_cast<float>(code(r, c)) * 0.3f; }));
  CHECK(!rounding_in(read, "a.t.weight"));
}

TEST_CASE("quantized layouts: bitsandbytes with another table, blocks of 128, words of BF16") {
  Json config = {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}};
  const std::string state =
      R"({"quant_type": "nf4", "blocksize": 128, "dtype": "float16", "shape": [4, 64]})";
  std::vector<float> table(16);
  for (std::size_t i = 0; i < 16; ++i) table[i] = 0.1f * static_cast<float>(i) - 0.7f;
  MemoryFolder folder(config);
  folder.add("m.weight", "BF16", {64, 1}, std::vector<std::uint16_t>(64, 0x21f0))
      .add("m.weight.absmax", "F32", {2}, std::vector<float>{3, 5})
      .add("m.weight.quant_map", "F32", {16}, table)
      .add("m.weight.quant_state.bitsandbytes__nf4", "U8", {state.size()},
           std::vector<char>(state.begin(), state.end()));
  const QuantizedFolder read = folder.open();
  CHECK(type_in(read, "m.weight") == DType::F32);
  const std::size_t order[] = {15, 0, 2, 1};
  CHECK(values_in(read, "m.weight") == matrix_of(4, 64, [&](int r, int c) {
          return table[order[c % 4]] * (r < 2 ? 3.0f : 5.0f);
        }));
}

}  // namespace lq
