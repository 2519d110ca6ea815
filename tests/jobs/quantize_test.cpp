#include "lib/jobs/quantize.h"

#include <doctest/doctest.h>

#include <cstring>

#include "lib/format/gguf_reader.h"
#include "lib/format/gguf_writer.h"
#include "lib/io/mapped_file.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_source.h"

namespace lq {
namespace {

using test::file_content;
using test::holds;
using test::message_of;
using test::TempDir;
using test::TinySource;

constexpr int kLayers = 4;

/// A small model of the llama family with random matrices of `type`.
TinySource make_model(DType type, std::uint64_t embedding = 256) {
  Metadata metadata("model.gguf");
  metadata.set("general.architecture", Value::of_string("llama"));
  metadata.set("general.file_type", Value::of_u32(0));
  metadata.set("llama.block_count", Value::of_u32(kLayers));
  metadata.set("llama.attention.head_count", Value::of_u32(4));
  metadata.set("split.no", Value::of_u16(0));
  metadata.set("split.count", Value::of_u16(2));
  metadata.set("split.tensors.count", Value::of_i32(11));
  metadata.set("last", Value::of_u32(7));
  TinySource source(std::move(metadata));
  source.add_random({"token_embd.weight", type, {embedding, 300}});
  source.add_random({"output_norm.weight", DType::F32, {embedding}});
  for (int i = kLayers - 1; i >= 0; --i) {  // another order than the output's
    const std::string prefix = "blk." + std::to_string(i) + ".";
    source.add_random({prefix + "ffn_up.weight", type, {embedding, 512}});
    source.add_random({prefix + "ffn_gate_inp_shexp.weight", DType::F32, {embedding, 1}});
    source.add_random({prefix + "attn_v.weight", type, {embedding, 64}});
    source.add_random({prefix + "attn_norm.weight", DType::F32, {embedding}});
  }
  return source;
}

void quantize(const TensorSource& source, const char* type, const std::filesystem::path& output,
              int threads = 1) {
  Monitor monitor;
  const Plan plan = make_quantize_plan(source, {.recipe = find_quantize_type(type), .wishes = {}});
  write_plan(plan, output, {.threads = threads, .check_copies = true}, monitor);
}

}  // namespace

TEST_CASE("quantized files hold the codec's bytes in the reference's order and metadata") {
  const TempDir dir;
  for (const DType from : {DType::F32, DType::F16, DType::BF16}) {
    const TinySource source = make_model(from);
    for (const std::string& name : usable_recipe_names()) {
      if (find_recipe(name)->needs_importance) continue;
      INFO(name << " from " << traits(from).name);
      const auto file = dir / (name + traits(from).name);
      quantize(source, name.c_str(), file);
      const GgufReader result(file);
      REQUIRE(result.tensors().size() == source.tensors().size());
      CHECK(result.tensors()[0].name == "output_norm.weight");
      CHECK(result.tensors()[2].name == "blk.0.attn_norm.weight");
      const auto& entries = result.metadata().entries();
      REQUIRE(entries.size() == 6);
      CHECK(entries[3].key == "last");
      CHECK(entries[4].key == "general.quantization_version");
      CHECK(entries[5].key == "general.file_type");
      CHECK(result.metadata().integer("general.file_type", 0, 100) == find_recipe(name)->file_type);
      for (std::size_t i = 0; i < result.tensors().size(); ++i) {
        const TensorInfo& tensor = result.tensors()[i];
        const auto expected = source.encoded(*source.find(tensor.name), tensor.type);
        const auto found = result.data(i);
        REQUIRE(expected.size() == found.size());
        CHECK(std::memcmp(expected.data(), found.data(), found.size()) == 0);
      }
    }
  }
}

TEST_CASE("quantized files do not depend on the number of threads [slow]") {
  const TempDir dir;
  const TinySource source = make_model(DType::F16, 1024);
  for (const char* type : {"Q4_K_M", "Q6_K", "Q8_0", "F32", "COPY"}) {
    quantize(source, type, dir / (type + std::string("1")), 1);
    const std::string once = file_content(dir / (type + std::string("1")));
    for (const int threads : {2, 3, 7}) {
      const auto file = dir / (type + std::to_string(threads));
      quantize(source, type, file, threads);
      CHECK(file_content(file) == once);
    }
  }
}

TEST_CASE("a copy keeps every tensor and the file type") {
  const TempDir dir;
  const TinySource source = make_model(DType::BF16);
  quantize(source, "copy", dir / "copy.gguf");
  const GgufReader result(dir / "copy.gguf");
  CHECK(result.metadata().integer("general.file_type", 0, 100) == 0);
  const auto at = result.find("blk.3.attn_v.weight");
  REQUIRE(at);
  CHECK(result.tensors()[*at].type == DType::BF16);
}

TEST_CASE("dimensions of one at the end are dropped") {
  const TempDir dir;
  quantize(make_model(DType::F32), "Q8_0", dir / "out.gguf");
  const GgufReader result(dir / "out.gguf");
  const auto at = result.find("blk.0.ffn_gate_inp_shexp.weight");
  REQUIRE(at);
  CHECK(result.tensors()[*at].shape == std::vector<std::uint64_t>{256});
  CHECK(result.tensors()[*at].type == DType::F32);
}

TEST_CASE("types that lost bits are not quantized again by accident") {
  const TempDir dir;
  const TinySource source = make_model(DType::Q8_0);
  const auto refused =
      message_of(ErrorKind::unsupported, [&] { quantize(source, "Q4_K_M", dir / "out.gguf"); });
  CHECK(holds(refused, "--allow-requantize"));
  CHECK(holds(refused, "Q8_0"));
  CHECK(dir.names().empty());
  Monitor monitor;
  const Plan plan = make_quantize_plan(
      source, {.recipe = find_quantize_type("Q4_K_M"), .wishes = {}, .allow_requantize = true});
  write_plan(plan, dir / "out.gguf", {}, monitor);
  const GgufReader result(dir / "out.gguf");
  const auto at = result.find("blk.1.ffn_up.weight");
  REQUIRE(at);
  CHECK(result.tensors()[*at].type == DType::Q4_K);
  // The same type is a copy.
  quantize(source, "Q8_0", dir / "same.gguf");
}

TEST_CASE("values that are not finite are named") {
  const TempDir dir;
  for (const DType type : {DType::F32, DType::F16, DType::BF16}) {
    TinySource source = make_model(type);
    const std::size_t index = *source.find("blk.2.attn_v.weight");
    source.set(index, 300, NAN);
    for (const char* to : {"Q4_K_M", "COPY"}) {
      const auto message =
          message_of(ErrorKind::input, [&] { quantize(source, to, dir / "out.gguf", 2); });
      CHECK(holds(message, "blk.2.attn_v.weight"));
      CHECK(holds(message, "element 300"));
      CHECK(dir.names().empty());
    }
  }
  TinySource large = make_model(DType::F32);
  large.set(*large.find("blk.1.ffn_up.weight"), 1000, 1e30f);
  const auto message =
      message_of(ErrorKind::input, [&] { quantize(large, "F16", dir / "out.gguf"); });
  CHECK(holds(message, "blk.1.ffn_up.weight"));
  CHECK(holds(message, "element 1000 (1e+30)"));
}

TEST_CASE("what cannot be made is refused with what can") {
  const auto unknown = message_of(ErrorKind::usage, [] { find_quantize_type("Q9_Z"); });
  CHECK(holds(unknown, "'Q9_Z'"));
  CHECK(holds(unknown, "Q4_K_M, "));
  CHECK(find_quantize_type("Copy") == nullptr);
  for (const Recipe& recipe : recipes()) {
    if (has_codecs(recipe)) continue;
    CHECK(holds(message_of(ErrorKind::unsupported, [&] { find_quantize_type(recipe.name); }),
                recipe.name));
  }
}

TEST_CASE("the share of weights with another type than wanted") {
  const TinySource source = make_model(DType::F32, 96);
  const Plan plan =
      make_quantize_plan(source, {.recipe = find_quantize_type("Q4_K_S"), .wishes = {}});
  CHECK(plan.fallbacks() == 1 + 2 * kLayers);
  CHECK(fallback_percent(plan) > 98);
  CHECK(default_output("models/a.gguf", find_recipe("q4_k")) == "models/ggml-model-Q4_K_M.gguf");
  CHECK(default_output("a.gguf", nullptr) == "ggml-model-COPY.gguf");
}

}  // namespace lq
