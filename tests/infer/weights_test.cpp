// Models whose tensors do not fit their metadata.
#include "lib/infer/weights.h"

#include <doctest/doctest.h>

#include "lib/infer/model.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/temp_dir.h"

namespace {

using namespace lq;
using test::GgufBuilder;
using test::holds;
using test::tiny_llama;

struct BrokenModel {
  const char* what;
  GgufBuilder builder;
  ErrorKind kind;
  std::vector<const char*> said;
};

GgufBuilder reshaped(const char* tensor, const std::vector<std::int64_t>& dims) {
  return tiny_llama().without_tensor(tensor).floats(tensor, dims);
}

std::vector<BrokenModel> factors() {
  return {{"a factor with two values",
           tiny_llama().floats("blk.0.ffn_up.scale", {2}),
           ErrorKind::input,
           {"bad.gguf", "blk.0.ffn_up.scale", "F32 [1]"}},
          {"a factor of nothing",
           tiny_llama().floats("blk.0.ffn_sideways.scale", {1}),
           ErrorKind::unsupported,
           {"bad.gguf", "blk.0.ffn_sideways.scale is not a part"}}};
}

std::vector<BrokenModel> cases() {
  const std::vector<std::byte> blocks(std::size_t{1} << 16);
  return {
      {"a missing matrix",
       tiny_llama().without_tensor("blk.0.attn_q.weight"),
       ErrorKind::input,
       {"bad.gguf", "blk.0.attn_q.weight is missing"}},
      {"a missing vector",
       tiny_llama().without_tensor("output_norm.weight"),
       ErrorKind::input,
       {"bad.gguf", "output_norm.weight is missing"}},
      {"no embedding",
       tiny_llama().without_tensor("token_embd.weight"),
       ErrorKind::input,
       {"token_embd.weight is missing", "whole model"}},
      {"a layer too few",
       tiny_llama().u32("llama.block_count", 2),
       ErrorKind::input,
       {"blk.1.attn_norm.weight is missing"}},
      {"a layer too many",
       tiny_llama().floats("blk.1.ffn_up.weight", {64, 64}),
       ErrorKind::unsupported,
       {"blk.1.ffn_up.weight", "llama with 1 layers"}},
      {"a matrix of another shape",
       reshaped("blk.0.ffn_down.weight", {64, 32}),
       ErrorKind::input,
       {"blk.0.ffn_down.weight has shape [64, 32]", "[64, 64]"}},
      {"a vector of another shape",
       reshaped("blk.0.attn_norm.weight", {32}),
       ErrorKind::input,
       {"blk.0.attn_norm.weight", "[32]", "[64]"}},
      {"a matrix with too many dimensions",
       reshaped("blk.0.attn_k.weight", {64, 32, 1}),
       ErrorKind::input,
       {"blk.0.attn_k.weight"}},
      {"heads that do not fit the matrices",
       tiny_llama().u32("llama.attention.head_count_kv", 4),
       ErrorKind::input,
       {"blk.0.attn_k.weight", "[64, 32]", "[64, 64]"}},
      {"a tensor of no family",
       tiny_llama().floats("blk.0.ssm_in.weight", {64, 64}),
       ErrorKind::unsupported,
       {"blk.0.ssm_in.weight", "not a part of architecture llama"}},
      {"a type without a codec",
       tiny_llama()
           .without_tensor("blk.0.attn_v.weight")
           .tensor({.name = "blk.0.attn_v.weight",
                    .dims = {64, 32},
                    .type = 27 /* I64 */,
                    .data = blocks}),
       ErrorKind::unsupported,
       {"blk.0.attn_v.weight has type I64", "Q4_K", "F16"}},
      {"more tokens than rows",
       reshaped("token_embd.weight", {64, 299}),
       ErrorKind::input,
       {"300 tokens", "299 rows"}},
  };
}

}  // namespace

TEST_CASE("weights: what does not fit is named, with what was expected") {
  const auto backend = make_cpu_backend(1);
  std::vector<BrokenModel> broken = cases();
  for (const BrokenModel& c : factors()) broken.push_back(c);
  for (const BrokenModel& c : broken) {
    CAPTURE(std::string(c.what));
    const test::TempDir dir;
    const auto file = dir.write("bad.gguf", c.builder.build());
    const auto error = test::error_of([&] { const Model model(file, *backend); });
    REQUIRE(error);
    const std::string message = error->what();
    CHECK_MESSAGE(error->kind() == c.kind, message);
    for (const char* part : c.said) CHECK_MESSAGE(holds(message, part), message);
  }
}

TEST_CASE("weights: a model with a head of its own reads one row of the embedding a token") {
  const auto backend = make_cpu_backend(1);
  const test::TempDir dir;
  const Model tied(dir.write("tied.gguf", tiny_llama().build()), *backend);
  const Model separate(
      dir.write("separate.gguf", tiny_llama().floats("output.weight", {64, 300}).build()),
      *backend);
  const std::uint64_t table = 300 * 64 * 4;
  CHECK(tied.weights().head.in_panels);
  CHECK(!tied.weights().embedding.in_panels);
  CHECK(tied.weights().name_of(tied.weights().head) == "token_embd.weight");
  const Model as_stored(dir / "tied.gguf", *backend, {.repack = false});
  CHECK(as_stored.weights().head.data == as_stored.weights().embedding.data);
  CHECK(tied.weights().bytes_per_token() == tied.weights().bytes());
  CHECK(separate.weights().head.data != separate.weights().embedding.data);
  CHECK(separate.weights().bytes() == tied.weights().bytes() + table);
  CHECK(separate.weights().bytes_per_token() == tied.weights().bytes_per_token() + 64 * 4);
  CHECK(separate.weights().parameters() == tied.weights().parameters() + 300 * 64);
  CHECK(tied.weight_type() == "F32");
}
