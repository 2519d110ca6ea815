// Families and hyperparameters: the registry, and every way in which a file's numbers can be wrong.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "lib/model/arch_spec.h"
#include "tests/support/errors.h"

namespace {

using namespace lq;
using test::error_of;
using test::holds;

/// The keys of a small model of any family.
Metadata small_model(const std::string& arch) {
  Metadata m("small.gguf");
  m.set("general.architecture", Value::of_string(arch));
  const auto u32 = [&](const char* key, std::uint32_t value) {
    m.set(arch + "." + key, Value::of_u32(value));
  };
  u32("block_count", 3);
  u32("context_length", 64);
  u32("embedding_length", 256);
  u32("feed_forward_length", 512);
  u32("attention.head_count", 4);
  u32("attention.head_count_kv", 2);
  u32("rope.dimension_count", 64);
  m.set(arch + ".attention.layer_norm_rms_epsilon", Value::of_f32(1e-5));
  return m;
}

Value i32s(std::vector<std::int64_t> values) { return Value::of_i32s(std::move(values)); }

struct ImpossibleValue {
  const char* key;
  std::optional<Value> value;  ///< nothing: the key is removed
  ErrorKind kind = ErrorKind::input;
};

std::vector<ImpossibleValue> impossible_values() {
  const auto u32 = [](std::uint32_t v) { return Value::of_u32(v); };
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  return {
      {"attention.head_count", u32(0)},
      {"attention.head_count", u32(7)},
      {"attention.head_count", u32(4294967295)},
      {"attention.head_count", i32s({})},
      {"attention.head_count", i32s({4, 4})},
      {"attention.head_count", i32s({-4, -4, -4})},
      {"attention.head_count", i32s({4, 2, 4}), ErrorKind::unsupported},
      {"attention.head_count", Value::of_string("4")},
      {"attention.head_count_kv", u32(0)},
      {"attention.head_count_kv", u32(3)},
      {"attention.head_count_kv", u32(8)},
      {"attention.key_length", u32(0)},
      {"attention.key_length", u32(4294967295)},
      {"attention.value_length", u32(0)},
      {"attention.layer_norm_rms_epsilon", Value::of_f32(nan)},
      {"attention.layer_norm_rms_epsilon", Value::of_f32(-1)},
      {"attention.layer_norm_rms_epsilon", std::nullopt},
      {"attention.causal", Value::of_bool(false), ErrorKind::unsupported},
      {"block_count", u32(0)},
      {"block_count", u32(4294967295)},
      {"block_count", std::nullopt},
      {"context_length", u32(0)},
      {"context_length", u32(4294967295)},
      {"embedding_length", u32(0)},
      {"embedding_length", u32(4294967295)},
      {"feed_forward_length", u32(0)},
      {"feed_forward_length", i32s({512, 256, 512}), ErrorKind::unsupported},
      {"vocab_size", u32(0)},
      {"rope.dimension_count", u32(63)},
      {"rope.dimension_count", u32(0)},
      {"rope.dimension_count", u32(128)},
      {"rope.freq_base", Value::of_f32(0)},
      {"rope.freq_base", Value::of_f32(nan)},
      {"rope.scaling.factor", Value::of_f32(-2)},
      {"rope.scaling.factor", Value::of_f32(nan)},
      {"rope.scaling.type", Value::of_string("yarn"), ErrorKind::unsupported},
      {"expert_count", u32(8), ErrorKind::unsupported},
      {"expert_count", u32(4000000000)},
  };
}

}  // namespace

TEST_CASE("every family is complete and no name appears twice") {
  std::set<std::string_view> names, classes;
  for (const auto* arch : all_archs()) {
    CAPTURE(arch->gguf_name);
    CHECK(names.insert(arch->gguf_name).second);
    CHECK(find_arch(arch->gguf_name) == arch);
    CHECK(supported_archs().find(arch->gguf_name) != std::string::npos);
    CHECK_FALSE(arch->hf_classes.empty());
    CHECK_FALSE(arch->vocabulary.empty());
    for (const auto& hf_class : arch->hf_classes) {
      CHECK(classes.insert(hf_class.class_name).second);
      CHECK(find_hf_class(hf_class.class_name).arch == arch);
      CHECK(hf_class.defaults.context_length > 0);
      CHECK(hf_class.defaults.rms_eps > 0);
      CHECK(hf_class.defaults.rope_theta > 0);
    }
    std::set<std::string_view> hf, gguf;
    const auto h = HParams::parse(small_model(std::string(arch->gguf_name)));
    for (const auto& rule : arch->tensors) {
      CAPTURE(rule.gguf_name);
      CHECK(gguf.insert(rule.gguf_name).second);
      if (!rule.hf_name.empty()) CHECK(hf.insert(rule.hf_name).second);
      CHECK(find_rule(*arch, rule.gguf_name) == &rule);
      for (const auto extent : rule_shape(rule, h, 100)) CHECK(extent > 0);
      // Each name leads back to its rule, in either direction, in every layer.
      const bool layered = rule.gguf_name.find("{}") != std::string_view::npos;
      for (const int layer : {0, 10, 123}) {
        const auto match = match_gguf_name(*arch, layer_name(rule.gguf_name, layer));
        CHECK(match.rule == &rule);
        CHECK(match.layer == (layered ? layer : -1));
        if (!rule.hf_name.empty())
          CHECK(match_hf_name(*arch, layer_name(rule.hf_name, layer)).rule == &rule);
      }
    }
    for (const char* core : {"token_embd.weight", "output_norm.weight", "blk.{}.attn_q.weight",
                             "blk.{}.ffn_down.weight"})
      CHECK(find_rule(*arch, core) != nullptr);
  }
}

TEST_CASE("names that are no tensor of a family are not matched") {
  for (const char* name :
       {"blk.-1.ffn_up.weight", "blk.99999999999999999999.ffn_up.weight", "blk..ffn_up.weight",
        "blk.01.ffn_up.weight", "blk.1x.ffn_up.weight", "blk.0.ffn_up.weightx",
        "xblk.0.ffn_up.weight", "blk.{}.ffn_up.weight", "", "blk.0", "token_embd"})
    CHECK_MESSAGE(match_gguf_name(*find_arch("llama"), name).rule == nullptr, name);
  CHECK(find_arch("nosuch") == nullptr);
  CHECK(find_hf_class("NoSuchForCausalLM").arch == nullptr);
}

TEST_CASE("hyperparameters of a small model") {
  auto m = small_model("qwen3");
  m.set("qwen3.attention.key_length", Value::of_u32(80));
  m.set("qwen3.attention.value_length", Value::of_u32(96));
  m.set("qwen3.rope.scaling.type", Value::of_string("linear"));
  m.set("qwen3.rope.scaling.factor", Value::of_f32(4));
  m.set("qwen3.feed_forward_length", i32s({512, 512, 512}));
  const auto h = HParams::parse(m);
  CHECK(h.arch->gguf_name == "qwen3");
  CHECK(h.n_layers == 3);
  CHECK(h.n_embd == 256);
  CHECK(h.n_ff == 512);
  CHECK(h.n_heads == 4);
  CHECK(h.n_kv_heads == 2);
  CHECK(h.head_dim == 80);
  CHECK(h.value_dim == 96);
  CHECK(h.n_rot == 64);
  CHECK(h.n_vocab == 0);
  CHECK(h.n_ctx_train == 64);
  CHECK(h.rms_eps == 1e-5F);
  CHECK(h.rope_base == 10000.0F);
  CHECK(h.rope_scale == 0.25F);
  CHECK(rule_shape(*find_rule(*h.arch, "blk.{}.attn_output.weight"), h, 9) ==
        std::vector<std::uint64_t>{384, 256});
  CHECK(rule_shape(*find_rule(*h.arch, "token_embd.weight"), h, 9) ==
        std::vector<std::uint64_t>{256, 9});
}

TEST_CASE("defaults stand in for keys that are missing") {
  auto m = small_model("llama");
  m.remove("llama.attention.head_count_kv");
  m.remove("llama.rope.dimension_count");
  const auto h = HParams::parse(m);
  CHECK(h.n_kv_heads == 4);
  CHECK(h.head_dim == 64);
  CHECK(h.value_dim == 64);
  CHECK(h.n_rot == 64);
  CHECK(h.rope_scale == 1.0F);
}

TEST_CASE("impossible hyperparameters are refused with file and key") {
  for (const auto& c : impossible_values()) {
    auto m = small_model("llama");
    const auto key = std::string("llama.") + c.key;
    if (c.value)
      m.set(key, *c.value);
    else
      m.remove(key);
    const auto error = error_of([&] { HParams::parse(m); });
    CAPTURE(key);
    REQUIRE(error);
    CAPTURE(error->what());
    CHECK(error->kind() == c.kind);
    CHECK(holds(error->what(), "small.gguf"));
    CHECK(holds(error->what(), key));
  }
}

TEST_CASE("an unknown architecture is named with the list of known ones") {
  auto m = small_model("llama");
  m.set("general.architecture", Value::of_string("nosuch"));
  const auto error = error_of([&] { HParams::parse(m); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::unsupported);
  CHECK(holds(error->what(), "nosuch"));
  CHECK(holds(error->what(), supported_archs()));
}
