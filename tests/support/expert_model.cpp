#include "tests/support/expert_model.h"

#include "lib/base/random.h"
#include "lib/format/gguf_writer.h"
#include "tests/support/tiny_source.h"

namespace lq::test {
namespace {

constexpr std::uint64_t kWidth = 256, kHidden = 512, kTokens = 64;
constexpr int kLayers = 2;

struct Matrix {
  const char* name;
  std::vector<std::uint64_t> shape;
};

const Matrix kMatrices[] = {
    {"attn_k", {kWidth, kWidth / 4}},
    {"attn_output", {kWidth, kWidth}},
    {"attn_q", {kWidth, kWidth}},
    {"attn_v", {kWidth, kWidth / 4}},
    {"ffn_down_exps", {kHidden, kWidth, kExperts}},
    {"ffn_gate_exps", {kWidth, kHidden, kExperts}},
    {"ffn_up_exps", {kWidth, kHidden, kExperts}},
};

std::string tensor_name(int layer, const std::string& matrix) {
  return "blk." + std::to_string(layer) + "." + matrix + ".weight";
}

Metadata metadata() {
  Metadata m;
  m.set("general.architecture", Value::of_string("llama"));
  m.set("llama.block_count", Value::of_u32(kLayers));
  m.set("llama.context_length", Value::of_u32(128));
  m.set("llama.embedding_length", Value::of_u32(kWidth));
  m.set("llama.feed_forward_length", Value::of_u32(kHidden));
  m.set("llama.attention.head_count", Value::of_u32(8));
  m.set("llama.attention.head_count_kv", Value::of_u32(2));
  m.set("llama.attention.layer_norm_rms_epsilon", Value::of_f32(1e-5));
  m.set("llama.expert_count", Value::of_u32(kExperts));
  m.set("llama.expert_used_count", Value::of_u32(2));
  m.set("llama.vocab_size", Value::of_u32(kTokens));
  m.set("general.file_type", Value::of_u32(0));
  return m;
}

std::int64_t tokens_of(int layer, int expert) {
  if (layer == 0 && expert == 2) return 0;
  return layer == 1 && expert == 3 ? 5 : 100 + 50 * expert;
}

}  // namespace

void write_expert_model(const std::filesystem::path& path) {
  TinySource source;
  source.add_random({"token_embd.weight", DType::F32, {kWidth, kTokens}});
  source.add_random({"output.weight", DType::F32, {kWidth, kTokens}});
  source.add_random({"output_norm.weight", DType::F32, {kWidth}});
  for (int layer = 0; layer < kLayers; ++layer) {
    for (const Matrix& matrix : kMatrices)
      source.add_random({tensor_name(layer, matrix.name), DType::F32, matrix.shape});
    source.add_random({tensor_name(layer, "attn_norm"), DType::F32, {kWidth}});
    source.add_random({tensor_name(layer, "ffn_norm"), DType::F32, {kWidth}});
    source.add_random({tensor_name(layer, "ffn_gate_inp"), DType::F32, {kWidth, kExperts}});
  }
  GgufWriter writer(path, metadata(), source.tensors(), Existing::refuse);
  for (std::size_t i = 0; i < source.tensors().size(); ++i) writer.write(i, 0, source.data(i));
  writer.finish();
}

ImportanceMatrix expert_importance() {
  ImportanceMatrix result;
  result.name = "experts";
  result.datasets = {"experts.txt"};
  result.chunk_size = 50;
  result.chunk_count = 5;
  Random random(99);
  for (int layer = 0; layer < kLayers; ++layer)
    for (const Matrix& matrix : kMatrices) {
      const std::string name = tensor_name(layer, matrix.name);
      if (name == "blk.1.attn_k.weight") continue;
      ImportanceEntry& entry = result.entries[name];
      const int n = matrix.shape.size() > 2 ? kExperts : 1;
      for (int i = 0; i < n; ++i) {
        entry.counts.push_back(n > 1 ? tokens_of(layer, i) : 250);
        for (std::uint64_t c = 0; c < matrix.shape[0]; ++c) {
          const double u = random.uniform();
          entry.sums.push_back(
              static_cast<float>(u * u * static_cast<double>(entry.counts.back())));
        }
      }
    }
  return result;
}

}  // namespace lq::test
