#include "lib/jobs/recipe.h"

#include <doctest/doctest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/json.h"
#include "lib/io/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/places.h"

namespace lq {
namespace {

using test::holds;
using test::message_of;

const std::string kGolden = lq::test::testdata("golden/recipes.json.zst");

/// The types of one run of the reference quantizer: {"blk.*.attn_k.weight": {"Q4_K": "all"}, ...}.
std::map<std::string, std::string> expand(const OrderedJson& groups, int n_layers) {
  std::map<std::string, std::string> types;
  for (const auto& [pattern, by_type] : groups.items()) {
    const std::size_t star = pattern.find('*');
    for (const auto& [type, layers] : by_type.items()) {
      if (star == std::string::npos) {
        types[pattern] = type;
        continue;
      }
      for (int i = 0; i < n_layers; ++i) {
        const bool meant =
            layers.is_string() || std::find(layers.begin(), layers.end(), i) != layers.end();
        if (meant) types[std::string(pattern).replace(star, 1, std::to_string(i))] = type;
      }
    }
  }
  return types;
}

/// "emb 256 ff 512 untied"
int number_after(const std::string& text, const std::string& word) {
  return std::stoi(text.substr(text.find(word + " ") + word.size() + 1));
}

/// A tensor of the models that the golden runs were made with: matrices of F16, the rest F32.
TensorInfo make_tensor(const std::string& name, const std::string& shapes, int n_experts) {
  const auto embedding = static_cast<std::uint64_t>(number_after(shapes, "emb"));
  const auto inner = static_cast<std::uint64_t>(number_after(shapes, "ff"));
  const auto experts = static_cast<std::uint64_t>(n_experts);
  if (holds(name, "_norm.weight")) return {name, DType::F32, {embedding}};
  if (holds(name, "ffn_gate_inp")) return {name, DType::F32, {embedding, experts}};
  if (holds(name, "ffn_down_exps")) return {name, DType::F16, {inner, embedding, experts}};
  if (holds(name, "_exps")) return {name, DType::F16, {embedding, inner, experts}};
  if (holds(name, "ffn_down")) return {name, DType::F16, {inner, embedding}};
  return {name, DType::F16, {embedding, 512}};
}

std::vector<TensorInfo> in_output_order(const std::vector<TensorInfo>& tensors) {
  std::vector<TensorInfo> sorted;
  for (const std::size_t i : quantized_order(tensors)) sorted.push_back(tensors[i]);
  return sorted;
}

std::vector<TensorInfo> dense_model(int n_layers, std::uint64_t embedding = 256) {
  std::vector<TensorInfo> tensors = {{"output.weight", DType::F16, {embedding, 512}},
                                     {"token_embd.weight", DType::F16, {embedding, 512}}};
  for (int i = 0; i < n_layers; ++i)
    for (const char* name : {"attn_k", "attn_norm", "attn_v", "ffn_down"})
      tensors.push_back({"blk." + std::to_string(i) + "." + name + ".weight", DType::F16,
                         name == std::string("attn_norm") ? std::vector{embedding}
                                                          : std::vector{embedding, embedding}});
  return in_output_order(tensors);
}

RecipeFacts dense_facts(int n_layers) {
  return {.architecture = "llama", .n_layers = n_layers, .n_heads = 4, .n_kv_heads = 2};
}

std::map<std::string, TypeDecision> decide(const char* recipe, const TypeWishes& wishes,
                                           const std::vector<TensorInfo>& tensors,
                                           const RecipeFacts& facts) {
  const auto decisions = choose_types(*find_recipe(recipe), facts, wishes, tensors);
  std::map<std::string, TypeDecision> by_name;
  for (std::size_t i = 0; i < tensors.size(); ++i) by_name[tensors[i].name] = decisions[i];
  return by_name;
}

}  // namespace

TEST_CASE("recipes give every tensor the type that the reference quantizer gives it [slow]") {
  const OrderedJson golden = parse_ordered_json(read_text(kGolden), kGolden);
  std::size_t n_runs = 0, n_tensors = 0, n_equal = 0;
  for (const auto& [key, groups] : golden.at("types").items()) {
    const std::string& run = key;  // clang 14 captures no structured binding
    INFO(run);
    const std::string model = run.substr(0, run.find('/'));
    const std::string recipe_name = run.substr(model.size() + 1, run.rfind('/') - model.size() - 1);
    const OrderedJson& numbers = golden.at("models").at(model);
    const RecipeFacts facts{.architecture = "llama",
                            .n_layers = numbers.at("layers"),
                            .n_heads = numbers.at("n_head"),
                            .n_kv_heads = numbers.at("n_head_kv"),
                            .n_experts = numbers.at("n_expert"),
                            .importance = holds(run, "/imatrix")};
    const auto expected = expand(groups, facts.n_layers);
    std::vector<TensorInfo> tensors;
    for (const auto& [name, type] : expected)
      tensors.push_back(make_tensor(name, golden.at("shapes").at(model), facts.n_experts));
    tensors = in_output_order(tensors);
    const Recipe* recipe = find_recipe(recipe_name);
    REQUIRE(recipe);
    const auto decisions = choose_types(*recipe, facts, {}, tensors);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const std::string& type = expected.at(tensors[i].name);
      const bool equal = traits(decisions[i].type).name == type;
      if (!equal)
        FAIL_CHECK(tensors[i].name << ": " << traits(decisions[i].type).name << ", expected "
                                   << type);
      n_equal += equal ? 1 : 0;
    }
    n_tensors += tensors.size();
    ++n_runs;
  }
  MESSAGE("recipes: " << n_equal << "/" << n_tensors << " tensor types in " << n_runs << " runs");
  CHECK(n_runs == 406);
  CHECK(n_equal == n_tensors);
}

TEST_CASE("recipes are found by name, alias and number") {
  REQUIRE(find_recipe("q4_k_m"));
  CHECK(find_recipe("q4_k_m")->name == std::string("Q4_K_M"));
  CHECK(find_recipe("Q4_K") == find_recipe("Q4_K_M"));
  CHECK(find_recipe("15") == find_recipe("Q4_K_M"));
  CHECK(find_recipe("0") == find_recipe("F32"));
  CHECK(find_recipe("4") == nullptr);
  CHECK(find_recipe("Q4_K_X") == nullptr);
  CHECK(find_recipe("") == nullptr);
  std::set<std::uint32_t> numbers;
  for (const Recipe& recipe : recipes()) {
    CHECK(find_recipe(recipe.name) == &recipe);
    numbers.insert(recipe.file_type);
  }
  CHECK(numbers.size() == recipes().size());
  for (const std::string& name : usable_recipe_names()) CHECK(has_codecs(*find_recipe(name)));
}

TEST_CASE("wishes come before the recipe") {
  const auto tensors = dense_model(8);
  const RecipeFacts facts = dense_facts(8);
  const auto plain = decide("Q4_K_M", {}, tensors, facts);
  CHECK(plain.at("output.weight").type == DType::Q6_K);
  CHECK(plain.at("blk.0.attn_v.weight").type == DType::Q6_K);
  CHECK(plain.at("blk.0.attn_v.weight").reason == "recipe: attention values");
  CHECK(plain.at("blk.0.attn_norm.weight").type == DType::F16);
  CHECK(plain.at("blk.0.attn_norm.weight").reason == "kept: one dimension");
  const auto pure = decide("Q4_K_M", {.pure = true}, tensors, facts);
  CHECK(pure.at("output.weight").type == DType::Q4_K);
  CHECK(pure.at("blk.0.attn_v.weight").type == DType::Q4_K);
  const auto wished =
      decide("Q4_K_M",
             {.output = DType::Q8_0,
              .embedding = DType::Q5_1,
              .patterns = {{"blk\\.[0-3]\\.attn_v", DType::Q3_K}, {"attn_v", DType::Q4_0}}},
             tensors, facts);
  CHECK(wished.at("output.weight").type == DType::Q8_0);
  CHECK(wished.at("token_embd.weight").type == DType::Q5_1);
  CHECK(wished.at("blk.3.attn_v.weight").type == DType::Q3_K);
  CHECK(wished.at("blk.4.attn_v.weight").type == DType::Q4_0);
  const auto left = decide("Q4_K_M", {.leave_output = true}, tensors, facts);
  CHECK(left.at("output.weight").type == DType::F16);
  CHECK(left.at("output.weight").reason == "kept: --leave-output-tensor");
  CHECK(holds(message_of(ErrorKind::usage,
                         [&] {
                           decide("Q4_K_M", {.patterns = {{"(", DType::Q4_0}}}, tensors, facts);
                         }),
              "'('"));
}

TEST_CASE("rows that are not whole blocks fall back with a reason, or are refused") {
  const RecipeFacts facts = dense_facts(2);
  const auto by_32 = decide("Q4_K_S", {}, dense_model(2, 96), facts);
  CHECK(by_32.at("blk.0.attn_k.weight").wanted == DType::Q4_K);
  CHECK(by_32.at("blk.0.attn_k.weight").type == DType::Q5_0);
  CHECK(by_32.at("blk.0.attn_k.weight").reason == "rows of 96 are not a multiple of 256");
  CHECK(by_32.at("output.weight").wanted == DType::Q6_K);
  CHECK(by_32.at("output.weight").type == DType::Q8_0);
  const auto by_none = decide("Q3_K_S", {.pure = true}, dense_model(2, 80), facts);
  CHECK(by_none.at("blk.0.attn_k.weight").type == DType::F16);
  CHECK(by_none.at("blk.0.attn_k.weight").reason == "rows of 80 are not a multiple of 32");
  const auto refused =
      message_of(ErrorKind::unsupported, [&] { decide("Q8_0", {}, dense_model(2, 80), facts); });
  CHECK(holds(refused, "output.weight"));
  CHECK(holds(refused, "80"));
  CHECK(
      holds(message_of(ErrorKind::unsupported,
                       [&] { decide("Q4_0", {.output = DType::Q6_K}, dense_model(2, 96), facts); }),
            "--output-tensor-type"));
}

TEST_CASE("layers of expert models come from names, which may lie") {
  RecipeFacts facts = dense_facts(4);
  facts.n_experts = 4;
  for (const char* name : {"blk.4.ffn_down_exps.weight", "blk.99999999999.ffn_down_exps.weight",
                           "ffn_down_exps.weight", "blk..ffn_down_exps.weight"}) {
    INFO(name);
    const std::vector<TensorInfo> tensors = {{name, DType::F16, {256, 256, 4}}};
    CHECK(holds(message_of(ErrorKind::input, [&] { decide("Q4_K_M", {}, tensors, facts); }), name));
  }
}

TEST_CASE("output order is by layer number, then by name") {
  const std::vector<TensorInfo> tensors = {{"blk.10.a", DType::F32, {1}},
                                           {"blk.2.b", DType::F32, {1}},
                                           {"token_embd.weight", DType::F32, {1}},
                                           {"blk.2.a", DType::F32, {1}},
                                           {"output.weight", DType::F32, {1}}};
  std::vector<std::string> names;
  for (const std::size_t i : quantized_order(tensors)) names.push_back(tensors[i].name);
  CHECK(names == std::vector<std::string>{"output.weight", "token_embd.weight", "blk.2.a",
                                          "blk.2.b", "blk.10.a"});
}

TEST_CASE("facts come from any architecture's metadata") {
  Metadata metadata("file.gguf");
  CHECK(holds(message_of(ErrorKind::input, [&] { RecipeFacts::parse(metadata); }), "file.gguf"));
  metadata.set("general.architecture", Value::of_string("some"));
  metadata.set("some.block_count", Value::of_u32(12));
  metadata.set("some.attention.head_count", Value::of_i32s({8, 4}));
  metadata.set("some.expert_count", Value::of_u32(8));
  const RecipeFacts facts = RecipeFacts::parse(metadata);
  CHECK(facts.n_layers == 12);
  CHECK(facts.n_heads == 8);
  CHECK(facts.n_kv_heads == 8);
  CHECK(facts.n_experts == 8);
  metadata.set("some.attention.head_count", Value::of_i32s({-1}));
  CHECK(holds(message_of(ErrorKind::input, [&] { RecipeFacts::parse(metadata); }), "head_count"));
}

}  // namespace lq
