#include <algorithm>

#include "lib/base/error.h"
#include "lib/model/arch_spec.h"

namespace lq {
namespace {

constexpr const ArchSpec* kArchs[] = {
#define LQ_ARCH(id) &archs::id,
#include "lib/model/archs.def"
#undef LQ_ARCH
};

constexpr int kMostDigits = 6;

/// Layer number if `name` is `pattern` with a number for "{}" (-1 for a pattern without one), or
/// -2. A number has no leading zeros, so that every layer has one name.
int match(std::string_view pattern, std::string_view name) {
  constexpr int kNone = -2;
  const auto hole = pattern.find("{}");
  if (hole == std::string_view::npos) return pattern == name ? -1 : kNone;
  const auto head = pattern.substr(0, hole), tail = pattern.substr(hole + 2);
  if (name.size() <= head.size() + tail.size() || !name.starts_with(head) || !name.ends_with(tail))
    return kNone;
  const auto digits = name.substr(head.size(), name.size() - head.size() - tail.size());
  if (digits.size() > kMostDigits || (digits.size() > 1 && digits[0] == '0')) return kNone;
  int layer = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return kNone;
    layer = layer * 10 + (c - '0');
  }
  return layer;
}

RuleMatch match_rule(const ArchSpec& arch, std::string_view name,
                     std::string_view TensorRule::*pattern) {
  for (const auto& rule : arch.tensors) {
    if ((rule.*pattern).empty()) continue;
    if (const int layer = match(rule.*pattern, name); layer >= -1) return {&rule, layer};
  }
  return {};
}

std::uint64_t extent(Dim dim, const HParams& h, int n_vocab) {
  const auto product = [](int a, int b) {
    return static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b);
  };
  switch (dim) {
    case Dim::none:
      return 1;
    case Dim::embd:
      return product(h.n_embd, 1);
    case Dim::ff:
      return product(h.n_ff, 1);
    case Dim::vocab:
      return product(n_vocab, 1);
    case Dim::query:
      return product(h.n_heads, h.head_dim);
    case Dim::key:
      return product(h.n_kv_heads, h.head_dim);
    case Dim::value:
      return product(h.n_kv_heads, h.value_dim);
    case Dim::attention_out:
      return product(h.n_heads, h.value_dim);
    case Dim::head:
      return product(h.head_dim, 1);
    case Dim::rope_pairs:
      return product(h.n_rot / 2, 1);
  }
  return 0;
}

}  // namespace

std::span<const ArchSpec* const> all_archs() { return kArchs; }

const ArchSpec* find_arch(std::string_view gguf_name) {
  for (const auto* arch : kArchs)
    if (arch->gguf_name == gguf_name) return arch;
  return nullptr;
}

HfMatch find_hf_class(std::string_view class_name) {
  for (const auto* arch : kArchs)
    for (const auto& hf_class : arch->hf_classes)
      if (hf_class.class_name == class_name) return {arch, &hf_class};
  return {};
}

std::string supported_archs() {
  std::string list;
  for (const auto* arch : kArchs) {
    if (!list.empty()) list += ", ";
    list += arch->gguf_name;
  }
  return list;
}

RuleMatch match_gguf_name(const ArchSpec& arch, std::string_view gguf_name) {
  return match_rule(arch, gguf_name, &TensorRule::gguf_name);
}

RuleMatch match_hf_name(const ArchSpec& arch, std::string_view hf_name) {
  return match_rule(arch, hf_name, &TensorRule::hf_name);
}

const TensorRule* find_rule(const ArchSpec& arch, std::string_view gguf_pattern) {
  for (const auto& rule : arch.tensors)
    if (rule.gguf_name == gguf_pattern) return &rule;
  return nullptr;
}

std::string layer_name(std::string_view pattern, int layer) {
  std::string name(pattern);
  if (const auto hole = name.find("{}"); hole != std::string::npos)
    name.replace(hole, 2, std::to_string(layer));
  return name;
}

std::vector<std::uint64_t> rule_shape(const TensorRule& rule, const HParams& hparams, int n_vocab) {
  std::vector<std::uint64_t> shape{extent(rule.cols, hparams, n_vocab)};
  if (rule.rows != Dim::none) shape.push_back(extent(rule.rows, hparams, n_vocab));
  return shape;
}

}  // namespace lq
