// Makes a model of the shape of Llama-3.2-1B (1.24 G weights, 2.3 GiB in F16) with random weights,
// for measurements: the same bytes on every machine.
//
//   lq_make_model OUT.gguf [LAYERS]        without LAYERS 16
//   lq_make_model FOLDER [LAYERS]          a Hugging Face folder in BF16, without a tokenizer
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/half.h"
#include "lib/base/parallel.h"
#include "lib/base/random.h"
#include "lib/format/gguf_writer.h"
#include "lib/format/safetensors_writer.h"

namespace {

using namespace lq;

constexpr std::uint64_t kWidth = 2048, kKeys = 512, kInner = 8192, kVocab = 128256;

/// Roughly normal with deviation 0.02, one value in 1024 eight times as large.
float weight(Random& random) {
  const std::uint64_t bits = random.next();
  std::int32_t sum = -2 * 0x10000;
  for (int i = 0; i < 4; ++i) sum += static_cast<std::int32_t>((bits >> (16 * i)) & 0xffff);
  const float scale = 0.02f / 37837.0f;  // deviation of the sum of four such numbers
  return static_cast<float>(sum) * ((bits * 0x9e3779b97f4a7c15u) >> 54 == 0 ? 8 * scale : scale);
}

struct Model {
  Metadata metadata;
  std::vector<TensorInfo> tensors;

  void add(const std::string& name, std::vector<std::uint64_t> shape) {
    tensors.push_back({name, shape.size() > 1 ? DType::F16 : DType::F32, std::move(shape)});
  }
};

void add_vocabulary(Metadata& metadata) {
  std::vector<std::string> tokens;
  std::vector<std::int64_t> types(kVocab, 1);
  for (std::uint64_t i = 0; i < kVocab; ++i) tokens.push_back("token" + std::to_string(i));
  types[kVocab - 1] = types[kVocab - 2] = 3;  // control
  metadata.set("tokenizer.ggml.model", Value::of_string("gpt2"));
  metadata.set("tokenizer.ggml.pre", Value::of_string("llama-bpe"));
  metadata.set("tokenizer.ggml.tokens", Value::of_strings(std::move(tokens)));
  metadata.set("tokenizer.ggml.token_type", Value::of_i32s(std::move(types)));
  metadata.set("tokenizer.ggml.merges", Value::of_strings({"t o", "k e"}));
  metadata.set("tokenizer.ggml.bos_token_id", Value::of_u32(kVocab - 2));
  metadata.set("tokenizer.ggml.eos_token_id", Value::of_u32(kVocab - 1));
}

Model describe(std::uint32_t layers) {
  Model model;
  Metadata& m = model.metadata;
  m.set("general.architecture", Value::of_string("llama"));
  m.set("general.name", Value::of_string("random weights, 1B"));
  m.set("general.file_type", Value::of_u32(1));
  m.set("llama.block_count", Value::of_u32(layers));
  m.set("llama.context_length", Value::of_u32(131072));
  m.set("llama.embedding_length", Value::of_u32(kWidth));
  m.set("llama.feed_forward_length", Value::of_u32(kInner));
  m.set("llama.attention.head_count", Value::of_u32(32));
  m.set("llama.attention.head_count_kv", Value::of_u32(8));
  m.set("llama.attention.layer_norm_rms_epsilon", Value::of_f32(1e-5));
  m.set("llama.rope.dimension_count", Value::of_u32(64));
  m.set("llama.rope.freq_base", Value::of_f32(500000));
  m.set("llama.vocab_size", Value::of_u32(kVocab));
  add_vocabulary(m);
  model.add("token_embd.weight", {kWidth, kVocab});
  for (std::uint32_t i = 0; i < layers; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    model.add(block + "attn_norm.weight", {kWidth});
    model.add(block + "attn_q.weight", {kWidth, kWidth});
    model.add(block + "attn_k.weight", {kWidth, kKeys});
    model.add(block + "attn_v.weight", {kWidth, kKeys});
    model.add(block + "attn_output.weight", {kWidth, kWidth});
    model.add(block + "ffn_norm.weight", {kWidth});
    model.add(block + "ffn_gate.weight", {kWidth, kInner});
    model.add(block + "ffn_up.weight", {kWidth, kInner});
    model.add(block + "ffn_down.weight", {kInner, kWidth});
  }
  model.add("output_norm.weight", {kWidth});
  return model;
}

template <class Writer>
void write_ones(Writer& writer, std::size_t index, const TensorInfo& tensor) {
  const std::vector<float> ones(tensor.elements(), 1.0f);
  writer.write(index, 0, std::as_bytes(std::span(ones)));
}

template <class Writer, class Convert>
void write_random(Writer& writer, std::size_t index, const TensorInfo& tensor, Convert convert) {
  constexpr std::uint64_t kRows = 128;
  const std::uint64_t n = tensor.row_length(), pieces = (tensor.rows() + kRows - 1) / kRows;
  parallel_for(static_cast<std::ptrdiff_t>(pieces), available_threads(), [&](std::ptrdiff_t i) {
    const std::uint64_t first = static_cast<std::uint64_t>(i) * kRows;
    const std::uint64_t rows = std::min(kRows, tensor.rows() - first);
    Random random(index * 1000003 + first);
    std::vector<std::uint16_t> values(rows * n);
    for (std::uint16_t& value : values) value = convert(weight(random));
    writer.write(index, first * tensor.row_bytes(), std::as_bytes(std::span(values)));
  });
}

template <class Writer, class Convert>
void write_tensors(Writer& writer, const Model& model, Convert convert) {
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    const TensorInfo& tensor = model.tensors[i];
    if (tensor.type == DType::F32)
      write_ones(writer, i, tensor);
    else
      write_random(writer, i, tensor, convert);
  }
}

/// "blk.3.attn_q.weight" as Hugging Face calls it.
std::string folder_name(const std::string& name) {
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"},
      {"attn_norm", "input_layernorm"},     {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},       {"attn_v", "self_attn.v_proj"},
      {"attn_output", "self_attn.o_proj"},  {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},        {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  std::string layer, stem = name.substr(0, name.rfind('.'));
  if (stem.starts_with("blk.")) {
    layer = "model.layers." + stem.substr(4, stem.find('.', 4) - 3);
    stem = stem.substr(stem.find('.', 4) + 1);
  }
  for (const auto& [ours, theirs] : kNames)
    if (stem == ours) return layer + theirs + ".weight";
  return name;
}

void write_folder(const std::filesystem::path& folder, const Model& model, int layers) {
  std::filesystem::create_directories(folder);
  std::vector<SafetensorsEntry> entries;
  for (const TensorInfo& tensor : model.tensors) {
    std::vector<std::uint64_t> shape(tensor.shape.rbegin(), tensor.shape.rend());
    entries.push_back({folder_name(tensor.name), tensor.type == DType::F32 ? "F32" : "BF16", shape,
                       tensor.bytes()});
  }
  std::filesystem::remove(folder / "model.safetensors");
  SafetensorsWriter writer(folder / "model.safetensors", entries);
  write_tensors(writer, model, [](float x) { return kernels::float_to_bfloat(x); });
  writer.commit();
  std::ofstream(folder / "config.json")
      << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
 "hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32,
 "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "rms_norm_eps": 1e-05,
 "rope_theta": 500000.0, "max_position_embeddings": 131072, "tie_word_embeddings": true,
 "bos_token_id": 128254, "eos_token_id": 128255, "num_hidden_layers": )"
      << layers << "}\n";
}

}  // namespace

int main(int argc, char** argv) try {
  const int layers = argc > 2 ? std::atoi(argv[2]) : 16;
  if (argc < 2 || argc > 3 || layers < 1 || layers > 16) {
    std::fprintf(stderr, "usage: lq_make_model OUT.gguf|FOLDER [LAYERS of 1..16]\n");
    return 2;
  }
  const Model model = describe(static_cast<std::uint32_t>(layers));
  if (!std::string_view(argv[1]).ends_with(".gguf")) {
    write_folder(argv[1], model, layers);
    return 0;
  }
  GgufWriter writer(argv[1], model.metadata, model.tensors, Existing::replace);
  write_tensors(writer, model, [](float x) { return kernels::float_to_half(x); });
  writer.finish();
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "lq_make_model: %s\n", error.what());
  return 1;
}
