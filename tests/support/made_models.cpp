#include "tests/support/made_models.h"

#include <string>

#include "tests/support/gguf_builder.h"

namespace lq::test {
namespace {

constexpr MadeModel kModels[] = {
    {"dense-f32", DType::F32, 8, 256, 512, 8, 2},
    {"dense-bf16", DType::BF16, 8, 512, 256, 8, 4},
    {"tied-f16", DType::F16, 17, 256, 256, 4, 4, 0, true},
    {"experts8-f16", DType::F16, 8, 256, 256, 8, 2, 8},
    {"experts4-bf16", DType::BF16, 8, 256, 256, 8, 4, 4},
    {"rows288-f32", DType::F32, 8, 288, 256, 4, 2},
    {"rows400-f16", DType::F16, 8, 256, 400, 4, 4},
};
constexpr std::size_t kRows = 3;  ///< of every matrix

/// Numbers that are exact in binary32 and easy to make anywhere.
class Numbers {
 public:
  explicit Numbers(std::uint32_t seed) : state_(seed) {}
  std::uint32_t next() { return state_ = 1664525u * state_ + 1013904223u; }
  /// About normal, with an outlier now and then.
  float weight() {
    int sum = -4 * 32768;
    for (int i = 0; i < 4; ++i) sum += static_cast<int>(next() >> 16);
    const float value = static_cast<float>(sum) / 1048576.0f;
    return next() >> 24 ? value : 16 * value;
  }
  /// Mean of the squares of a column; every eighth is 0.
  float mean_square() {
    const std::uint32_t bits = next() >> 16;
    return bits % 8 ? static_cast<float>(bits * bits >> 20) / 64 : 0;
  }

 private:
  std::uint32_t state_;
};

/// A tensor of the model: name and shape, columns first; `stored` as binary32 if it is no matrix.
struct Part {
  std::string name;
  std::vector<std::size_t> shape;
  bool weights;
};

void add_feed_forward(const MadeModel& m, const std::string& layer, std::vector<Part>& parts) {
  const auto width = static_cast<std::size_t>(m.width), inner = static_cast<std::size_t>(m.inner);
  const auto experts = static_cast<std::size_t>(m.experts);
  if (experts == 0) {
    for (const char* name : {"ffn_gate", "ffn_up"})
      parts.push_back({layer + name + ".weight", {width, kRows}, true});
    parts.push_back({layer + "ffn_down.weight", {inner, kRows}, true});
    return;
  }
  parts.push_back({layer + "ffn_gate_inp.weight", {width, experts}, false});
  for (const char* name : {"ffn_gate_exps", "ffn_up_exps"})
    parts.push_back({layer + name + ".weight", {width, kRows, experts}, true});
  parts.push_back({layer + "ffn_down_exps.weight", {inner, kRows, experts}, true});
  parts.push_back({layer + "ffn_up_shexp.weight", {width, kRows}, true});
  parts.push_back({layer + "ffn_gate_inp_shexp.weight", {width, 1}, false});
}

std::vector<Part> parts_of(const MadeModel& m) {
  const auto width = static_cast<std::size_t>(m.width);
  std::vector<Part> parts = {{"token_embd.weight", {width, 32}, true},
                             {"output_norm.weight", {width}, false}};
  if (!m.tied) parts.push_back({"output.weight", {width, 32}, true});
  for (int i = 0; i < m.layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    parts.push_back({layer + "attn_norm.weight", {width}, false});
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"})
      parts.push_back({layer + name + ".weight", {width, kRows}, true});
    parts.push_back({layer + "attn_q.bias", {kRows}, false});
    add_feed_forward(m, layer, parts);
  }
  return parts;
}

std::uint32_t seed_of(const std::string& name) {
  std::uint32_t seed = 1;
  for (const char c : name) seed = 31 * seed + static_cast<unsigned char>(c);
  return seed;
}

GgufBuilder::Tensor made_tensor(const Part& part, DType type) {
  std::size_t n = 1;
  GgufBuilder::Tensor tensor{.name = part.name, .dims = {}, .type = traits(type).gguf_id};
  for (const std::size_t size : part.shape) {
    n *= size;
    tensor.dims.push_back(static_cast<std::int64_t>(size));
  }
  Numbers numbers(seed_of(part.name));
  std::vector<float> values(n);
  for (float& value : values) value = numbers.weight();
  tensor.data.resize(traits(type).row_bytes(n));
  traits(type).encode(values.data(), nullptr, tensor.data.data(), n);
  return tensor;
}

}  // namespace

std::span<const MadeModel> made_models() { return kModels; }

std::vector<std::byte> made_file(const MadeModel& m) {
  const auto number = [](int value) { return static_cast<std::uint32_t>(value); };
  GgufBuilder file;
  file.string("general.architecture", "llama")
      .u32("general.quantization_version", 1)
      .u32("general.file_type", 0)
      .string("general.name", m.name)
      .u32("llama.context_length", 64)
      .u32("llama.embedding_length", number(m.width))
      .u32("llama.block_count", number(m.layers))
      .u32("llama.feed_forward_length", number(m.inner))
      .u32("llama.attention.head_count", number(m.heads))
      .u32("llama.attention.head_count_kv", number(m.kv_heads))
      .f32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .u32("llama.rope.dimension_count", number(m.width / m.heads))
      .u32("llama.vocab_size", 32);
  if (m.experts > 0)
    file.u32("llama.expert_count", number(m.experts)).u32("llama.expert_used_count", 2);
  file.strings("some.names", {"one", "two"}).boolean("some.flag", true);
  for (const Part& part : parts_of(m))
    file.tensor(made_tensor(part, part.weights ? m.type : DType::F32));
  return file.build();
}

ImportanceMatrix made_importance(const MadeModel& m) {
  ImportanceMatrix matrix;
  matrix.datasets = {"made.txt"};
  matrix.chunk_count = 3;
  matrix.chunk_size = 512;
  for (const Part& part : parts_of(m)) {
    if (!part.weights || part.name.substr(0, 4) != "blk.") continue;
    ImportanceEntry entry;
    const std::size_t matrices = part.shape.size() > 2 ? part.shape[2] : 1;
    Numbers numbers(seed_of(part.name) + 1);
    for (std::size_t k = 0; k < matrices; ++k) {
      const std::int64_t tokens = matrices == 1 ? 512 : k == 2 ? 0 : numbers.next() >> 24;
      entry.counts.push_back(tokens);
      for (std::size_t i = 0; i < part.shape[0]; ++i)
        entry.sums.push_back(numbers.mean_square() * static_cast<float>(tokens));
    }
    matrix.entries[part.name] = std::move(entry);
  }
  return matrix;
}

}  // namespace lq::test
