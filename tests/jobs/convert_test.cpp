// Whole files against the reference converter's, and every way in which a checkpoint can be wrong.
#include "lib/jobs/convert.h"

#include <doctest/doctest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/sha256.h"
#include "lib/io/mapped_file.h"
#include "lib/io/text_file.h"
#include "lib/jobs/inspect.h"
#include "tests/support/errors.h"
#include "tests/support/places.h"
#include "tests/support/toys.h"

namespace {

namespace fs = std::filesystem;
using namespace lq;
using test::checkpoint;
using test::CheckpointCopy;
using test::error_of;
using test::holds;

/// Digests of the reference's files by name: "llama3-f16.gguf", "llama3.gguf" for auto.
std::map<std::string, std::string> golden_sums() {
  std::map<std::string, std::string> sums;
  for (const char* file : {"golden/convert.sha256", "models/SHA256SUMS"}) {
    std::istringstream lines(read_text(lq::test::testdata(file)));
    for (std::string sum, name; lines >> sum >> name;) sums[name] = sum;
  }
  return sums;
}

std::string sum_of_conversion(const ConvertOptions& options, int threads) {
  const test::TempDir directory;
  Monitor monitor;
  const auto conversion = plan_conversion(options, monitor);
  write_plan(conversion.plan, directory / "out.gguf", {.threads = threads}, monitor);
  const MappedFile file(directory / "out.gguf");
  CHECK(file.bytes().size() == conversion.plan.file_bytes());
  return sha256_hex(file.bytes());
}

std::optional<Error> conversion_error(const fs::path& folder) {
  Monitor monitor;
  return error_of([&] { plan_conversion({.input = folder}, monitor); });
}

std::vector<std::string> keys_of(const Plan& plan) {
  std::vector<std::string> keys;
  for (const auto& entry : plan.metadata.entries()) keys.push_back(entry.key);
  return keys;
}

using Damage = std::function<void(const CheckpointCopy&)>;

Damage changed(const char* file, std::function<void(Json&)> edit) {
  return [file, edit](const CheckpointCopy& copy) { copy.change(file, edit); };
}
Damage changed_tokenizer(std::function<void(Json&)> edit) {
  return changed("tokenizer.json", std::move(edit));
}
Damage set(const char* key, Json value) {
  return changed("config.json", [key, value](Json& c) { c[key] = value; });
}
Damage without(const char* key) {
  return changed("config.json", [key](Json& c) { c.erase(key); });
}
Damage changed_tensors(std::function<void(Json&)> edit) {
  return [edit](const CheckpointCopy& copy) { copy.change_tensors(edit); };
}
Damage removed(const char* file) {
  return [file](const CheckpointCopy& copy) { fs::remove(copy / file); };
}
Damage replaced(const char* file, const char* text) {
  return [file, text](const CheckpointCopy& copy) {
    write_text(copy / file, text, Existing::replace);
  };
}

constexpr auto kInput = ErrorKind::input, kUnsupported = ErrorKind::unsupported;

struct BrokenCheckpoint {
  const char* what;
  Damage damage;
  ErrorKind kind;
  std::vector<const char*> said;
};

const std::vector<BrokenCheckpoint> kBrokenConfigs = {
    {"unknown class",
     set("architectures", {"NoSuchForCausalLM"}),
     kUnsupported,
     {"NoSuchForCausalLM", "LlamaForCausalLM"}},
    {"no class", without("architectures"), kUnsupported, {"architectures", "LlamaForCausalLM"}},
    {"class is a number", set("architectures", 5), kInput, {"architectures"}},
    {"no config", removed("config.json"), kInput, {"config.json"}},
    {"config is a list",
     replaced("config.json", "[1]"),
     kInput,
     {"config.json", "expected an object"}},
    {"config is cut", replaced("config.json", "{\"a\":"), kInput, {"config.json", "line 1"}},
    {"number as text", set("hidden_size", "64"), kInput, {"hidden_size", "\"64\""}},
    {"negative", set("num_hidden_layers", -2), kInput, {"num_hidden_layers", "-2"}},
    {"huge", set("num_hidden_layers", 1e18), kInput, {"num_hidden_layers"}},
    {"huge integer",
     set("num_hidden_layers", std::uint64_t{1} << 63),
     kInput,
     {"num_hidden_layers"}},
    {"fraction", set("num_attention_heads", 4.5), kInput, {"num_attention_heads"}},
    {"missing size", without("hidden_size"), kInput, {"hidden_size is missing"}},
    {"missing vocabulary size", without("vocab_size"), kInput, {"vocab_size is missing"}},
    {"other width", set("hidden_size", 128), kInput, {"[64, 320]", "[128, 320]"}},
    {"other heads", set("num_key_value_heads", 4), kInput, {"k_proj", "expected"}},
    {"fewer layers", set("num_hidden_layers", 1), kUnsupported, {"model.layers.1."}},
    {"more layers", set("num_hidden_layers", 3), kInput, {"model.layers.2.", "is missing"}},
    {"theta zero", set("rope_theta", 0), kInput, {"rope_theta"}},
    {"scaling",
     set("rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}),
     kUnsupported,
     {"yarn", "linear"}},
    {"activation", set("hidden_act", "gelu"), kUnsupported, {"hidden_act", "gelu"}},
    {"quantized",
     set("quantization_config", {{"quant_method", "hqq"}}),
     kUnsupported,
     {"quantization_config", "'hqq'", "gptq"}},
    {"small vocabulary", set("vocab_size", 100), kInput, {"[64, 320]", "[64, 100]"}},
};

const std::vector<BrokenCheckpoint> kBrokenContents = {
    {"missing tensor",
     changed_tensors([](Json& t) {
       t["model.layers.0.mlp.up_proj.weightx"] = t["model.layers.0.mlp.up_proj.weight"];
       t.erase("model.layers.0.mlp.up_proj.weight");
     }),
     kUnsupported,
     {"up_proj.weightx"}},
    {"wrong shape",
     changed_tensors([](Json& t) {
       t["model.norm.weight"]["shape"] = {8, 8};
     }),
     kInput,
     {"model.norm.weight", "[8, 8]", "[64]"}},
    {"no tokenizer", removed("tokenizer.json"), kInput, {"has no tokenizer"}},
    {"tokenizer of another kind",
     changed_tokenizer([](Json& t) { t["model"]["type"] = "WordPiece"; }),
     kUnsupported,
     {"WordPiece", "BPE"}},
    {"token id twice",
     changed_tokenizer([](Json& t) { t["model"]["vocab"]["!"] = 5; }),
     kInput,
     {"tokenizer.json", "same id 5"}},
    {"token id huge",
     changed_tokenizer([](Json& t) { t["model"]["vocab"]["!"] = 4000000; }),
     kInput,
     {"tokenizer.json", "gaps"}},
    {"token id negative",
     changed_tokenizer([](Json& t) { t["model"]["vocab"]["!"] = -1; }),
     kInput,
     {"tokenizer.json", "-1"}},
    {"merge of one part",
     changed_tokenizer([](Json& t) { t["model"]["merges"][3] = {"ab"}; }),
     kInput,
     {"merges[3]", "two parts"}},
    {"unknown pre-tokenizer part",
     changed_tokenizer([](Json& t) {
       t["pre_tokenizer"] = {{"type", "UnicodeScripts"}};
     }),
     kUnsupported,
     {"UnicodeScripts", "--pre"}},
};

void check_refused(const std::vector<BrokenCheckpoint>& cases) {
  for (const auto& c : cases) {
    CAPTURE(c.what);
    const CheckpointCopy copy("mistral");
    c.damage(copy);
    const auto error = conversion_error(copy.path());
    REQUIRE(error);
    CAPTURE(error->what());
    CHECK(error->kind() == c.kind);
    for (const auto* part : c.said) CHECK_MESSAGE(holds(error->what(), part), part);
  }
}

}  // namespace

TEST_CASE("converted files are the reference's, byte for byte") {
  const auto sums = golden_sums();
  int n = 0, identical = 0;
  for (const char* name : {"llama3", "mistral", "qwen3", "smollm3", "lq-demo", "lq-demo-draft"})
    for (const char* type : {"auto", "f32", "f16", "bf16", "q8_0"}) {
      const bool automatic = std::string_view(type) == "auto";
      const auto file = name + (automatic ? "" : std::string("-") + type) + ".gguf";
      CAPTURE(file);
      REQUIRE(sums.contains(file));
      ConvertOptions options;
      options.input = checkpoint(name);
      if (!automatic) options.type = dtype_named(type);
      const auto sum = sum_of_conversion(options, 1 + n % 3);
      CHECK(sum == sums.at(file));
      ++n;
      identical += sum == sums.at(file);
    }
  MESSAGE(identical << "/" << n << " files identical");
  CHECK(n == 30);
}

TEST_CASE("a checkpoint with lm_head only gets the embedding as well, and is else unchanged") {
  CheckpointCopy tied("smollm3"), head_only("smollm3");
  head_only.change_tensors([](Json& tensors) {
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"];
    tensors.erase("model.embed_tokens.weight");
  });
  test::Warnings warnings;
  const auto ours = plan_conversion({.input = head_only.path()}, warnings);
  CHECK(holds(warnings.all, "token_embd.weight is written as a copy"));
  ConvertOptions options;
  options.input = head_only.path();
  options.compat = true;
  const auto compat = plan_conversion(options, warnings);
  REQUIRE(ours.plan.tensors.size() == compat.plan.tensors.size() + 1);
  CHECK(ours.plan.tensors.back().output.name == "token_embd.weight");
  CHECK(compat.plan.tensors.front().output.name == "output.weight");
  CHECK(ours.plan.metadata.entries().size() == compat.plan.metadata.entries().size());
  for (const auto& [key, value] : compat.plan.metadata.entries())
    CHECK(*ours.plan.metadata.find(key) == value);
  // Without its name the added matrix is that of the tied checkpoint.
  const auto original = plan_conversion({.input = tied.path()}, warnings);
  const auto bytes = [](const Conversion& c, const PlannedTensor& t) {
    return sha256_hex(c.source->data(t.source_index));
  };
  CHECK(bytes(ours, ours.plan.tensors.back()) == bytes(original, original.plan.tensors.front()));
  CHECK(bytes(compat, compat.plan.tensors.front()) ==
        bytes(original, original.plan.tensors.front()));
}

TEST_CASE("configurations that are incomplete or contradict the tensors are refused") {
  check_refused(kBrokenConfigs);
}

TEST_CASE("tensors and tokenizers that are incomplete or wrong are refused") {
  check_refused(kBrokenContents);
}

TEST_CASE("names of layers that are not rotated have to be the family's") {
  const CheckpointCopy copy("smollm3");
  copy.change("config.json", [](Json& c) { c["no_rope_layers"][3] = 1; });
  const auto error = conversion_error(copy.path());
  REQUIRE(error);
  CHECK(holds(error->what(), "no_rope_layers[3]"));
}

TEST_CASE("metadata: front matter, overrides and the name") {
  const CheckpointCopy copy("mistral");
  write_text(
      copy / "README.md",
      "---\nlicense: [mit, 'apache-2.0']\nlanguage: en # only\ntags:\n- a\n- \"b c\"\n"
      "base_model:\n  - org/Some-Model-7B-Instruct\n  - https://huggingface.co/o/n-v2\n"
      "description: >\n  two\n  lines\nwidget:\n  - text: x\n    other: [1, {a: b}]\n---\n# x\n",
      Existing::replace);
  const auto overrides = copy / "overrides.json";
  write_text(overrides, R"({"general.author": "me", "general.sampling.temp": 0.5,
                            "general.tags": ["only"], "general.nonsense": 1})",
             Existing::replace);
  test::Warnings warnings;
  ConvertOptions options;
  options.input = copy.path();
  options.overrides = overrides;
  options.name = "My Model";
  const auto m = plan_conversion(options, warnings).plan.metadata;
  CHECK(m.string("general.name") == "My Model");
  CHECK(m.string("general.author") == "me");
  CHECK(m.string("general.license") == "mit,apache-2.0");
  CHECK(m.string("general.description") == "two lines\n");
  CHECK(m.strings("general.tags") == std::vector<std::string>{"only"});
  CHECK(m.strings("general.languages") == std::vector<std::string>{"en"});
  CHECK(m.integer("general.base_model.count", 0, 9) == 2);
  CHECK(m.string("general.base_model.0.name") == "Some Model 7B Instruct");
  CHECK(m.string("general.base_model.0.organization") == "Org");
  CHECK(m.string("general.base_model.0.repo_url") ==
        "https://huggingface.co/org/Some-Model-7B-Instruct");
  CHECK(m.string("general.base_model.1.version") == "v2");
  CHECK(m.number("general.sampling.temp") == 0.5);
  CHECK(holds(warnings.all, "general.nonsense"));
}

TEST_CASE("a broken model card or generation_config.json is only worth a warning") {
  const CheckpointCopy copy("llama3");
  write_text(copy / "README.md", "---\ntags: [a, b\n---\n", Existing::replace);
  write_text(copy / "generation_config.json", "{", Existing::replace);
  test::Warnings warnings;
  const auto m = plan_conversion({.input = copy.path()}, warnings).plan.metadata;
  CHECK(holds(warnings.all, "README.md: line"));
  CHECK(holds(warnings.all, "generation_config.json"));
  CHECK_FALSE(m.has("general.tags"));
}

TEST_CASE("values that config.json leaves out are those of its class") {
  const CheckpointCopy copy("mistral");
  copy.change("config.json", [](Json& c) {
    for (const char* key : {"max_position_embeddings", "rope_theta", "rms_norm_eps"}) c.erase(key);
  });
  Monitor monitor;
  const auto m = plan_conversion({.input = copy.path()}, monitor).plan.metadata;
  CHECK(m.integer("llama.context_length", 0, 1 << 30) == 131072);
  CHECK(m.number("llama.rope.freq_base") == 10000);
  CHECK(m.number("llama.attention.layer_norm_rms_epsilon") == static_cast<double>(1e-6F));
}

TEST_CASE("linear scaling of positions becomes keys") {
  const CheckpointCopy copy("mistral");
  copy.change("config.json", [](Json& c) {
    c["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  });
  Monitor monitor;
  const auto plan = plan_conversion({.input = copy.path()}, monitor).plan;
  CHECK(plan.metadata.string("llama.rope.scaling.type") == "linear");
  CHECK(plan.metadata.number("llama.rope.scaling.factor") == 2);
  const auto keys = keys_of(plan);
  const auto at = std::find(keys.begin(), keys.end(), "llama.rope.scaling.type");
  REQUIRE(at != keys.end());
  CHECK(*(at - 1) == "llama.attention.head_count_kv");
  CHECK(*(at + 2) == "llama.rope.freq_base");
}

TEST_CASE("inspect tells the same facts as text and as JSON") {
  Monitor monitor;
  const auto folder = checkpoint("qwen3");
  const auto json = inspect_json(folder, {}, monitor);
  CHECK(json["format"] == "safetensors");
  CHECK(json["tensors"].size() == 25);
  CHECK(json["totals"]["parameters"] == 1738240);
  CHECK(json["metadata"]["hidden_size"]["value"] == 256);
  const auto text = inspect_text(folder, {.tensors = true, .metadata = true}, monitor);
  CHECK(holds(text, "Qwen3ForCausalLM"));
  CHECK(holds(text, "1738240"));
  CHECK(holds(text, "model.layers.0.self_attn.k_norm.weight"));

  const test::TempDir directory;
  const auto file = directory / "q.gguf";
  write_plan(plan_conversion({.input = folder}, monitor).plan, file, {}, monitor);
  const auto inside = inspect_json(file, {.metadata = true, .tokens = true}, monitor);
  CHECK(inside["metadata"]["qwen3.block_count"]["value"] == 2);
  CHECK(inside["metadata"]["tokenizer.ggml.tokens"]["count"] == 320);
  CHECK(inside["tokens"].size() == 320);
  CHECK(inside["tokens"][290]["text"] == "<|im_end|>");
  CHECK_FALSE(inside.contains("tensors"));
  CHECK(inspect_json(folder, {.tokens = true}, monitor)["tokens"] == inside["tokens"]);
}
