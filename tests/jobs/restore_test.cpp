// GGUF files back to Hugging Face folders: the tensors of the original folder, byte for byte, and
// the same GGUF file when that is converted again.
#include "lib/jobs/restore.h"

#include <doctest/doctest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/sha256.h"
#include "lib/format/gguf_reader.h"
#include "lib/format/hf_directory.h"
#include "lib/io/text_file.h"
#include "lib/jobs/checkpoint.h"
#include "lib/jobs/convert.h"
#include "lib/jobs/convert_vocabulary.h"
#include "lib/jobs/restore_config.h"
#include "lib/jobs/restore_tokenizer.h"
#include "lib/text/pretokenizers.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/models.h"
#include "tests/support/toys.h"
#include "tests/support/vocabularies.h"

namespace {

namespace fs = std::filesystem;
using namespace lq;
using namespace lq::test;

/// Name to storage, shape and digest of all tensors of a folder.
std::map<std::string, std::string> facts_of(const fs::path& folder) {
  const HfDirectory source(folder);
  std::map<std::string, std::string> facts;
  for (std::size_t i = 0; i < source.tensors().size(); ++i)
    facts[source.tensors()[i].name] = std::string(source.stored_as(i)) +
                                      shape_text(source.tensors()[i].shape) +
                                      sha256_hex(source.raw_data(i));
  return facts;
}

void write_folder(const fs::path& gguf, const fs::path& folder, std::optional<DType> type,
                  Monitor& monitor) {
  const HfModel model = open_hf_model(gguf, {type}, monitor);
  CheckpointPlan plan = make_folder_plan(model, CheckpointOptions{}.max_shard_bytes);
  write_checkpoint(plan, folder, {.threads = 2}, monitor);
}

fs::path converted(const fs::path& folder, const fs::path& file) {
  Monitor monitor;
  const auto conversion = plan_conversion({.input = folder, .name = "model"}, monitor);
  write_plan(conversion.plan, file, {.threads = 2}, monitor);
  return file;
}

const char* const kModels[] = {"llama3", "mistral", "qwen3", "smollm3", "lq-demo", "lq-demo-draft"};

/// Llama3's toy with biases on the four matrices of attention, all different.
void add_biases(const CheckpointCopy& copy) {
  copy.change("config.json", [](Json& c) { c["attention_bias"] = true; });
  auto content = read_text(copy / "model.safetensors");
  std::uint64_t length = 0;
  std::copy_n(content.data(), sizeof length, reinterpret_cast<char*>(&length));
  auto header = Json::parse(content.substr(sizeof length, length));
  std::string data = content.substr(sizeof length + length);
  for (int layer = 0; layer < 2; ++layer)
    for (const auto& [name, n] : {std::pair("q", 256), {"k", 64}, {"v", 64}, {"o", 256}}) {
      const auto begin = data.size();
      for (int i = 0; i < n; ++i) {
        const float value = static_cast<float>(i % 128) + static_cast<float>(layer);
        char bytes[2];
        traits(DType::BF16).encode(&value, nullptr, bytes, 1);
        data.append(bytes, sizeof bytes);
      }
      header["model.layers." + std::to_string(layer) + ".self_attn." + name + "_proj.bias"] = {
          {"dtype", "BF16"}, {"shape", {n}}, {"data_offsets", {begin, data.size()}}};
    }
  const auto text = header.dump();
  length = text.size();
  std::string out(sizeof length, '\0');
  std::copy_n(reinterpret_cast<const char*>(&length), sizeof length, out.data());
  write_text(copy / "model.safetensors", out + text + data, Existing::replace);
}

std::optional<Error> restoring_error(const GgufBuilder& builder) {
  const TempDir dir;
  const auto bytes = builder.build();
  const auto file =
      dir.write("m.gguf", std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  Monitor monitor;
  return error_of([&] { open_hf_model(file, {}, monitor); });
}

}  // namespace

TEST_CASE("a folder that was converted comes back with all bytes, and converts to the same file") {
  for (const char* name : kModels) {
    CAPTURE(std::string(name));
    const TempDir dir;
    Warnings warnings;
    const auto gguf = converted(checkpoint(name), dir / "a.gguf");
    write_folder(gguf, dir / "folder", {}, warnings);
    CHECK(warnings.all.empty());
    CHECK(facts_of(dir / "folder") == facts_of(checkpoint(name)));
    const auto again = converted(dir / "folder", dir / "b.gguf");
    const GgufReader first(gguf), second(again);
    REQUIRE(first.tensors().size() == second.tensors().size());
    for (std::size_t i = 0; i < first.tensors().size(); ++i) {
      CHECK(first.tensors()[i].name == second.tensors()[i].name);
      CHECK(sha256_hex(first.data(i)) == sha256_hex(second.data(i)));
    }
    for (const auto& entry : first.metadata().entries()) {
      CAPTURE(entry.key);
      const auto* other = second.metadata().find(entry.key);
      REQUIRE(other);
      CHECK((*other == entry.value));
    }
    CHECK(first.metadata().entries().size() == second.metadata().entries().size());
  }
}

TEST_CASE("biases of queries and keys change places with their rows, there and back") {
  const CheckpointCopy copy("llama3");
  add_biases(copy);
  const TempDir dir;
  Monitor monitor;
  const auto gguf = converted(copy.path(), dir / "a.gguf");
  const GgufReader reader(gguf);
  const auto bias = reader.find("blk.1.attn_q.bias");
  REQUIRE(bias);
  std::vector<float> values(256);
  traits(DType::F32).decode(reader.data(*bias).data(), values.data(), values.size());
  // Heads of 32: the pair (j, j + 16) becomes (2j, 2j + 1).
  CHECK(values[0] == 1);
  CHECK(values[1] == 17);
  CHECK(values[2] == 2);
  CHECK(values[33] == 49);
  write_folder(gguf, dir / "folder", {}, monitor);
  CHECK(facts_of(dir / "folder") == facts_of(copy.path()));
  CHECK(Json::parse(read_text(dir / "folder/config.json"))["attention_bias"] == true);
}

TEST_CASE("types: what was asked for, else what the file is; quantized weights are decoded") {
  const TempDir dir;
  Monitor monitor;
  const auto original = facts_of(checkpoint("qwen3"));
  const auto f32 = convert_checkpoint(dir, "qwen3", DType::F32);
  write_folder(f32, dir / "f32", {}, monitor);
  CHECK(facts_of(dir / "f32").at("model.norm.weight").starts_with("F32"));
  write_folder(f32, dir / "bf16", DType::BF16, monitor);
  CHECK(facts_of(dir / "bf16") == original);  // nothing was lost on the way
  write_folder(convert_checkpoint(dir, "qwen3", DType::F16), dir / "f16", {}, monitor);
  CHECK(facts_of(dir / "f16").at("model.norm.weight").starts_with("F16"));

  Warnings warnings;
  const auto q8 = convert_checkpoint(dir, "qwen3", DType::Q8_0);
  write_folder(q8, dir / "q8", {}, warnings);
  CHECK(holds(warnings.all, "quantized before (Q8_0)"));
  const auto decoded = facts_of(dir / "q8");
  CHECK(decoded.at("model.norm.weight") == original.at("model.norm.weight"));
  CHECK(decoded.at("lm_head.weight") != original.at("lm_head.weight"));
  const GgufReader reader(q8);
  const HfDirectory folder(dir / "q8");
  const auto from = *reader.find("blk.0.ffn_up.weight");
  const auto to = *folder.find("model.layers.0.mlp.up_proj.weight");
  std::vector<float> values(reader.tensors()[from].elements());
  traits(DType::Q8_0).decode(reader.data(from).data(), values.data(), values.size());
  std::vector<std::byte> expected(values.size() * 2);
  traits(DType::BF16).encode(values.data(), nullptr, expected.data(), values.size());
  CHECK(sha256_hex(expected) == sha256_hex(folder.raw_data(to)));
}

TEST_CASE("vectors that the type cannot hold stay in F32, with a warning") {
  const TempDir dir;
  Warnings warnings;
  auto builder = tiny_llama();
  const auto bytes = builder.build();
  const auto file =
      dir.write("m.gguf", std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  const HfModel model = open_hf_model(file, {DType::F16}, warnings);
  bool any = false;
  for (const auto& tensor : model.tensors) any = any || tensor.stored_as == "F32";
  CHECK(any == holds(warnings.all, "kept in F32"));
}

TEST_CASE("rope_scaling is found from the divisors that it makes") {
  struct Case {
    RopeFrequencyScaling scaling;
    double theta;
    int n_rot;
  };
  const Case cases[] = {{{8, 1, 4, 8192}, 5e5, 128},  // Llama 3.1
                        {{32, 1, 4, 8192}, 5e5, 64},  // Llama 3.2, 1B
                        {{8, 1, 4, 64}, 5e5, 32},    {{4, 1, 2, 1024}, 1e4, 64},
                        {{16, 1, 4, 4096}, 1e6, 8},  {{8, 1, 8, 8192}, 5e5, 128}};
  for (const Case& c : cases) {
    const auto divisors = rope_frequency_divisors(c.scaling, c.theta, c.n_rot);
    const auto found = find_frequency_scaling(divisors, c.theta, c.n_rot);
    REQUIRE(found);
    CHECK(rope_frequency_divisors(*found, c.theta, c.n_rot) == divisors);
    CHECK(found->factor == c.scaling.factor);
  }
  CHECK(find_frequency_scaling(rope_frequency_divisors(cases[0].scaling, 5e5, 128), 5e5, 128)
            ->original_context == 8192);
  CHECK(!find_frequency_scaling({1, 2, 1, 8}, 1e4, 8));
  CHECK(!find_frequency_scaling({1, -2, 3, 8}, 1e4, 8));
  CHECK(!find_frequency_scaling({}, 1e4, 8));
}

TEST_CASE("files that are no whole model of a known family are refused") {
  struct Refused {
    GgufBuilder builder;
    ErrorKind kind;
    const char* why;
  };
  const auto changed = [](auto change) {
    auto builder = tiny_llama();
    change(builder);
    return builder;
  };
  auto vocabulary = tiny_llama();
  for (const char* name :
       {"token_embd.weight", "output_norm.weight", "output.weight", "blk.0.attn_norm.weight",
        "blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight",
        "blk.0.attn_output.weight", "blk.0.ffn_norm.weight", "blk.0.ffn_gate.weight",
        "blk.0.ffn_up.weight", "blk.0.ffn_down.weight"})
    vocabulary.without_tensor(name);
  const Refused cases[] = {
      {vocabulary, ErrorKind::input, "only a vocabulary"},
      {changed([](auto& b) { b.without_tensor("blk.0.ffn_up.weight"); }), ErrorKind::input,
       "blk.0.ffn_up.weight' is missing"},
      {changed([](auto& b) { b.without_tensor("token_embd.weight"); }), ErrorKind::input,
       "token_embd.weight' is missing"},
      {changed([](auto& b) { b.string("general.architecture", "gemma2"); }), ErrorKind::unsupported,
       "'gemma2' is not supported"},
      {changed([](auto& b) { b.floats("blk.0.mystery.weight", {64}); }), ErrorKind::unsupported,
       "blk.0.mystery.weight"},
      {changed([](auto& b) { b.floats("blk.0.attn_q.bias", {64}); }), ErrorKind::unsupported,
       "all of them or none"},
      {changed([](auto& b) { b.u32("llama.rope.dimension_count", 8); }), ErrorKind::unsupported,
       "rotate whole heads"},
      {changed([](auto& b) { b.u32("llama.feed_forward_length", 99); }), ErrorKind::input,
       "by the metadata"},
  };
  CHECK(!restoring_error(tiny_llama()));
  for (const Refused& one : cases) {
    CAPTURE(std::string(one.why));
    const auto error = restoring_error(one.builder);
    REQUIRE(error);
    CHECK(error->kind() == one.kind);
    CHECK_MESSAGE(holds(error->what(), one.why), error->what());
  }
}

TEST_CASE("a pre-tokenizer without a definition: its vocabulary and merges are written") {
  auto metadata = read_vocabulary("lq-demo");
  metadata.set("qwen3.context_length", Value::of_u32(1024));
  const auto names_for = [&](const char* pre, std::string& warned) {
    metadata.set("tokenizer.ggml.pre", Value::of_string(pre));
    Warnings warnings;
    std::string names;
    for (const auto& file : restored_tokenizer(metadata, *find_arch("qwen3"), 2048, warnings))
      names += file.name + " ";
    warned = warnings.all;
    return names;
  };
  std::string warned;
  CHECK(names_for("qwen2", warned) == "tokenizer.json tokenizer_config.json ");
  CHECK(warned.empty());
  for (const char* pre : {"afmoe", "kimi-k2", "no-such-name", "default"}) {
    CHECK(names_for(pre, warned) == "vocab.json merges.txt tokenizer_config.json ");
    CHECK_MESSAGE(holds(warned, "tokenizer.json is not"), warned);
  }
  metadata.set("tokenizer.ggml.model", Value::of_string("bert"));
  CHECK(names_for("qwen2", warned).empty());
  CHECK(holds(warned, "which cannot be written"));
}

TEST_CASE("every pre-tokenizer with a definition is recognised by it") {
  for (const PreTokenizerInfo& row : all_pretokenizers()) {
    CAPTURE(std::string(row.name));
    std::vector<std::string> patterns;
    for (const char* pattern : patterns_of(row)) patterns.emplace_back(pattern);
    const auto definition = definition_of_patterns(patterns, row.name, false);
    if (definition.is_null()) continue;
    const Json tokenizer = {{"pre_tokenizer", Json::parse(definition.dump())}};
    const JsonObject object(&tokenizer, "tokenizer.json");
    if (row.name == "default") continue;
    const auto name = pre_of_definition(object, "", row.add_bos);
    REQUIRE(name);
    CHECK(find_pretokenizer(*name)->family == row.family);
  }
}
