#include "tests/support/gguf_builder.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lq::test {
namespace {

void pad(Bytes& bytes, std::uint64_t alignment) {
  while (bytes.all.size() % alignment != 0) bytes.put(std::uint8_t{0});
}

constexpr int kVocabularySize = 300;

std::vector<std::string> tokens() {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::vector<std::string> all = {"<unk>", "<s>", "</s>"};
  for (unsigned i = 0; i < 256; ++i)
    all.push_back(std::string("<0x") + kDigits[i >> 4] + kDigits[i & 15] + ">");
  for (int i = 0; i < kVocabularySize - 259; ++i) all.push_back("a" + std::to_string(i));
  return all;
}

std::vector<std::string> tokens_with(std::size_t from, const std::vector<std::string>& replaced) {
  auto all = tokens();
  std::copy(replaced.begin(), replaced.end(), all.begin() + static_cast<std::ptrdiff_t>(from));
  return all;
}

constexpr char kTokensKey[] = "tokenizer.ggml.tokens";
constexpr char kScoresKey[] = "tokenizer.ggml.scores";
constexpr char kTypesKey[] = "tokenizer.ggml.token_type";

/// A header with one key and what the test adds.
GgufBuilder small() {
  GgufBuilder builder;
  builder.string("general.architecture", "llama");
  return builder;
}

class Collection {
 public:
  /// A file that breaks the rules of the container.
  void container(const std::string& name, const GgufBuilder& builder) {
    all.push_back({name, builder.build(), true});
  }
  void container(const std::string& name, std::vector<std::byte> bytes) {
    all.push_back({name, std::move(bytes), true});
  }
  /// A well-formed file with odd content.
  void content(const std::string& name, const GgufBuilder& builder) {
    all.push_back({name, builder.build(), false});
  }

  std::vector<MalformedModel> all;
};

void add_headers(Collection& out) {
  for (const std::uint32_t version : {0u, 1u, 4u, 0x03000000u, 0x02000000u}) {
    GgufBuilder b = small().floats("t", {32});
    b.version = version;
    out.container("version_" + std::to_string(version), b);
  }
  GgufBuilder b = small();
  b.magic = "GGUX";
  out.container("magic", b);
  out.container("empty", std::vector<std::byte>());
  out.container("zeros", std::vector<std::byte>(4096));
  auto truncated = small().floats("t", {32}).build();
  truncated.resize(40);
  out.container("truncated_key", truncated);
  for (const std::uint64_t count : {std::uint64_t{2}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    GgufBuilder keys = small(), tensors = small();
    keys.n_keys = count;
    tensors.n_tensors = count;
    out.container("n_keys_" + std::to_string(count), keys);
    out.container("n_tensors_" + std::to_string(count), tensors);
  }
}

void add_values(Collection& out) {
  const auto with = [&](const std::string& name, std::uint32_t type, const Bytes& value) {
    out.container(name, small().key("a", type, value));
  };
  for (const std::uint64_t n :
       {std::uint64_t{100}, std::uint64_t{1} << 40, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    with("huge_string_" + std::to_string(n), STR, Bytes().put(n).text("abc"));
    with("huge_u8_array_" + std::to_string(n), ARR, Bytes().put(U8).put(n));
    with("huge_f64_array_" + std::to_string(n), ARR, Bytes().put(F64).put(n));
    with("huge_string_array_" + std::to_string(n), ARR, Bytes().put(STR).put(n).string("abc"));
  }
  with("string_in_array_too_long", ARR,
       Bytes().put(STR).put(std::uint64_t{1}).put(std::uint64_t{1} << 60));
  with("array_of_arrays", ARR,
       Bytes().put(ARR).put(std::uint64_t{1}).put(U8).put(std::uint64_t{0}));
  with("value_type_13", 13, Bytes().put(std::uint64_t{0}));
  with("value_type_minus_1", ~0u, Bytes().put(std::uint64_t{0}));
  with("element_type_13", ARR, Bytes().put(13u).put(std::uint64_t{1}).put(std::uint64_t{0}));
  out.container("empty_key", small().u32("", 1));
  GgufBuilder twice = small().u32("a", 1).u32("b", 2);
  auto bytes = twice.build();
  const auto b = std::find(bytes.begin(), bytes.end(), std::byte{'b'});
  *b = std::byte{'a'};
  out.container("duplicate_key", bytes);
  // The length of a key that reaches beyond the end.
  out.container("huge_key", Bytes()
                                .text("GGUF")
                                .put(3u)
                                .put(std::uint64_t{0})
                                .put(std::uint64_t{1})
                                .put(std::uint64_t{1} << 63)
                                .text("abc")
                                .all);
}

void add_alignments(Collection& out) {
  const auto with = [&](const std::string& name, std::uint32_t type, const Bytes& value) {
    out.container("alignment_" + name,
                  small().key("general.alignment", type, value).floats("t", {32}));
  };
  for (const std::uint32_t v : {0u, 3u, 48u, 0xffffffffu})
    with(std::to_string(v), U32, Bytes().put(v));
  with("u64", U64, Bytes().put(std::uint64_t{32}));
  with("i32", I32, Bytes().put(std::int32_t{32}));
  with("string", STR, Bytes().string("x"));
  with("array", ARR, Bytes().put(U32).put(std::uint64_t{1}).put(32u));
  with("beyond_the_end", U32, Bytes().put(1u << 31));
}

void add_tensors(Collection& out) {
  using Tensor = GgufBuilder::Tensor;
  const auto with = [&](const std::string& name, const Tensor& tensor) {
    out.container(name, small().tensor(tensor));
  };
  const std::vector<std::byte> data(4096);
  with("n_dims_5", {.name = "t", .dims = {32, 1, 1, 1, 1}, .data = data});
  with("n_dims_huge", {.name = "t", .dims = {32}, .data = data, .n_dims = ~0u});
  with("zero_dimension", {.name = "t", .dims = {1, 0}});
  with("zero_first_dimension", {.name = "t", .dims = {0, 1}});
  with("negative_dimension", {.name = "t", .dims = {-32}, .data = data});
  with("two_negative_dimensions", {.name = "t", .dims = {-4, -8}, .data = data});
  const auto most = std::numeric_limits<std::int64_t>::max();
  with("product_too_large", {.name = "t", .dims = {most, 2}, .type = 24});
  with("size_too_large", {.name = "t", .dims = {most}});
  with("product_wraps_to_0", {.name = "t", .dims = {1ll << 32, 1ll << 32}});
  with("size_wraps_to_32", {.name = "t", .dims = {(1ll << 62) + 8}, .data = data});
  with("name_of_64_bytes", {.name = std::string(64, 'a'), .dims = {32}, .data = data});
  for (const std::uint32_t type : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u, 43u, ~0u})
    with("storage_type_" + std::to_string(type),
         {.name = "t", .dims = {32}, .type = type, .data = data});
  with("row_not_whole_blocks", {.name = "t", .dims = {33}, .type = 8, .data = data});
  with("row_of_31_by_2", {.name = "t", .dims = {16, 2}, .type = 8, .data = data});
  with("data_missing", {.name = "t", .dims = {32}});
  auto cut = small().floats("t", {64}).build();
  cut.resize(cut.size() - 1);
  out.container("data_cut", cut);
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{96}, std::uint64_t{160},
                                     std::uint64_t{129}, ~std::uint64_t{0}, std::uint64_t{1} << 63})
    out.container("second_offset_" + std::to_string(offset),
                  small().floats("a", {32}).tensor(
                      {.name = "b", .dims = {32}, .data = data, .offset = offset}));
  out.container("duplicate_tensor", small().floats("t", {32}).floats("t", {32}));
}

template <class T>
std::vector<T> times(std::size_t n, T value) {
  return std::vector<T>(n, value);
}

void add_tokenizers(Collection& out) {
  const auto add = [&](const std::string& name, const GgufBuilder& b) { out.content(name, b); };
  add("scores_u8", tiny_llama().numbers(kScoresKey, U8, times(kVocabularySize, std::uint8_t{1})));
  add("scores_short", tiny_llama().numbers(kScoresKey, F32, times(3, 0.0f)));
  add("types_u8", tiny_llama().numbers(kTypesKey, U8, times(kVocabularySize, std::uint8_t{1})));
  add("types_short", tiny_llama().numbers(kTypesKey, I32, times(3, 1)));
  add("tokens_i32", tiny_llama().numbers(kTokensKey, I32, times(kVocabularySize, 1)));
  add("tokens_u32_scalar", tiny_llama().u32(kTokensKey, 5));
  add("tokens_empty", tiny_llama()
                          .strings(kTokensKey, {})
                          .numbers(kScoresKey, F32, times(0, 0.0f))
                          .numbers(kTypesKey, I32, times(0, 0)));
  add("bos_out_of_range", tiny_llama().u32("tokenizer.ggml.bos_token_id", 4000000000u));
  add("eos_out_of_range", tiny_llama().u32("tokenizer.ggml.eos_token_id", kVocabularySize + 7));
  add("byte_token_negative", tiny_llama().strings(kTokensKey, tokens_with(3, {"<0x-1>"})));
  add("byte_token_not_hex", tiny_llama().strings(kTokensKey, tokens_with(3, {"<0xZZ>"})));
  add("tokens_not_utf8",
      tiny_llama().strings(kTokensKey, tokens_with(290, times<std::string>(10, "\xff\xfe\x80"))));
  add("tokens_twice",
      tiny_llama().strings(kTokensKey, tokens_with(290, times<std::string>(10, "dup"))));
  add("no_tokens", tiny_llama().without(kTokensKey));
  add("template_endless",
      tiny_llama().string("tokenizer.chat_template",
                          "{% for i in range(100000000) %}{% for j in range(100000000) %}x"
                          "{% endfor %}{% endfor %}"));
  add("template_deep",
      tiny_llama().string("tokenizer.chat_template",
                          "{{" + std::string(20000, '(') + "1" + std::string(20000, ')') + "}}"));
}

void add_parameters(Collection& out) {
  const auto add = [&](const std::string& name, const GgufBuilder& b) { out.content(name, b); };
  add("heads_0", tiny_llama().u32("llama.attention.head_count", 0));
  add("kv_heads_0", tiny_llama().u32("llama.attention.head_count_kv", 0));
  add("kv_heads_not_a_divisor", tiny_llama().u32("llama.attention.head_count_kv", 3));
  add("blocks_huge", tiny_llama().u32("llama.block_count", 4294967295u));
  add("blocks_0", tiny_llama().u32("llama.block_count", 0));
  add("width_0", tiny_llama().u32("llama.embedding_length", 0));
  add("context_0", tiny_llama().u32("llama.context_length", 0));
  add("context_huge", tiny_llama().u32("llama.context_length", 4294967295u));
  add("rope_odd", tiny_llama().u32("llama.rope.dimension_count", 15));
  add("epsilon_nan", tiny_llama().f32("llama.attention.layer_norm_rms_epsilon", std::nanf("")));
  add("experts_bad",
      tiny_llama().u32("llama.expert_count", 4000000000u).u32("llama.expert_used_count", 5));
  add("architecture_unknown", tiny_llama().string("general.architecture", "nosuch"));
  add("architecture_of_wrong_type", tiny_llama().u32("general.architecture", 7));
  add("heads_array_short", tiny_llama().numbers("llama.attention.head_count", I32, times(0, 0)));
  add("heads_array_negative",
      tiny_llama().numbers("llama.attention.head_count", I32, times(1, -4)));
  add("block_number_negative", tiny_llama().floats("blk.-1.ffn_up.weight", {64, 64}));
  add("block_number_huge", tiny_llama().floats("blk.99999999999999999999.ffn_up.weight", {64, 64}));
  add("embedding_too_small",
      tiny_llama().without_tensor("token_embd.weight").floats("token_embd.weight", {64, 299}));
  add("tensor_missing", tiny_llama().without_tensor("blk.0.attn_q.weight"));
  auto cut = tiny_llama().build();
  cut.resize(cut.size() - 64);
  out.container("tiny_llama_cut", cut);
}

}  // namespace

Bytes& Bytes::raw(std::span<const std::byte> bytes) {
  all.insert(all.end(), bytes.begin(), bytes.end());
  return *this;
}

GgufBuilder& GgufBuilder::key(std::string_view name, std::uint32_t type, const Bytes& value) {
  const auto at =
      std::find_if(keys_.begin(), keys_.end(), [&](const Key& k) { return k.name == name; });
  if (at == keys_.end())
    keys_.push_back({std::string(name), type, value});
  else
    *at = {std::string(name), type, value};
  return *this;
}

GgufBuilder& GgufBuilder::without(std::string_view name) {
  std::erase_if(keys_, [&](const Key& k) { return k.name == name; });
  return *this;
}

GgufBuilder& GgufBuilder::strings(std::string_view name, const std::vector<std::string>& v) {
  Bytes value;
  value.put(STR).put(std::uint64_t{v.size()});
  for (const std::string& one : v) value.string(one);
  return key(name, ARR, value);
}

GgufBuilder& GgufBuilder::tensor(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return *this;
}

GgufBuilder& GgufBuilder::floats(std::string_view name, const std::vector<std::int64_t>& dims) {
  std::size_t n = 1;
  for (const std::int64_t dimension : dims) n *= static_cast<std::size_t>(dimension);
  Bytes data;
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < n; ++i) {
    state = state * 1664525 + 1013904223;
    data.put((static_cast<float>(state >> 8) / 16777216.0f - 0.5f) * 0.07f);
  }
  return tensor({.name = std::string(name), .dims = dims, .data = std::move(data.all)});
}

GgufBuilder& GgufBuilder::without_tensor(std::string_view name) {
  std::erase_if(tensors_, [&](const Tensor& t) { return t.name == name; });
  return *this;
}

std::vector<std::byte> GgufBuilder::build() const {
  Bytes out, data;
  out.text(magic).put(version);
  out.put(n_tensors.value_or(tensors_.size())).put(n_keys.value_or(keys_.size()));
  for (const Key& k : keys_) out.string(k.name).put(k.type).raw(k.value.all);
  for (const Tensor& t : tensors_) {
    out.string(t.name).put(t.n_dims.value_or(static_cast<std::uint32_t>(t.dims.size())));
    for (const std::int64_t dimension : t.dims) out.put(dimension);
    out.put(t.type).put(t.offset.value_or(data.all.size()));
    data.raw(t.data);
    pad(data, alignment);
  }
  if (!tensors_.empty()) pad(out, alignment);
  return out.raw(data.all).all;
}

GgufBuilder tiny_llama() {
  GgufBuilder b;
  b.string("general.architecture", "llama");
  b.u32("llama.block_count", 1).u32("llama.context_length", 64).u32("llama.embedding_length", 64);
  b.u32("llama.feed_forward_length", 64).u32("llama.attention.head_count", 4);
  b.u32("llama.attention.head_count_kv", 2);
  b.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f).u32("llama.rope.dimension_count", 16);
  b.string("tokenizer.ggml.model", "llama").strings(kTokensKey, tokens());
  b.numbers(kScoresKey, F32, times(kVocabularySize, 0.0f));
  std::vector<std::int32_t> types = {2, 3, 3};
  types.resize(259, 6);
  types.resize(kVocabularySize, 1);
  b.numbers(kTypesKey, I32, types);
  b.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  b.u32("tokenizer.ggml.unknown_token_id", 0);
  b.floats("token_embd.weight", {64, kVocabularySize}).floats("output_norm.weight", {64});
  const auto layer = [&](const char* name, const std::vector<std::int64_t>& dims) {
    b.floats("blk.0." + std::string(name) + ".weight", dims);
  };
  layer("attn_norm", {64});
  layer("attn_q", {64, 64});
  layer("attn_k", {64, 32});
  layer("attn_v", {64, 32});
  layer("attn_output", {64, 64});
  layer("ffn_norm", {64});
  layer("ffn_gate", {64, 64});
  layer("ffn_up", {64, 64});
  layer("ffn_down", {64, 64});
  return b;
}

std::vector<MalformedModel> malformed_models() {
  Collection out;
  add_headers(out);
  add_values(out);
  add_alignments(out);
  add_tensors(out);
  add_tokenizers(out);
  add_parameters(out);
  return std::move(out.all);
}

}  // namespace lq::test
