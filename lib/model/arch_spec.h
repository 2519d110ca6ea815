#pragma once
// What one model family is: its names, tensors and the options of its blocks. Conversion, loading,
// shape checks and the forward pass have no other source.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/format/tensor.h"
#include "lib/model/hparams.h"

namespace lq {

/// Which dimensions of a head form a rotated pair.
enum class RopeStyle {
  adjacent,     ///< (2i, 2i + 1)
  split_halves  ///< (i, i + n_rot / 2)
};

/// What conversion does to the rows of a tensor.
enum class Transform {
  none,
  unsplit_query,  ///< rows of each query head from split halves to adjacent pairs
  unsplit_key,    ///< the same for key heads
};

/// A dimension of a tensor, in terms of HParams. `none` ends a shape.
enum class Dim { none, embd, ff, vocab, query, key, value, attention_out, head, rope_pairs };

/// One tensor of the family, "{}" stands for the layer number.
struct TensorRule {
  std::string_view hf_name;  ///< empty: made by conversion, not in the checkpoint
  std::string_view gguf_name;
  Dim cols = Dim::none;  ///< length of a row
  Dim rows = Dim::none;  ///< none: one-dimensional
  bool required = true;
  Transform transform = Transform::none;
};

/// Metadata that a family writes after the generic list, in order.
enum class ExtraKey { vocab_size, rope_dimension_count };

/// Where the vocabulary comes from; tried in order.
enum class VocabularySource { sentencepiece, llama_hf, byte_level };

/// Values that the family's configuration class fills in when config.json lacks them (0 or
/// negative: none).
struct ConfigDefaults {
  int head_dim = 0;
  bool derive_head_dim = false;  ///< hidden size / heads is written when absent
  int n_kv_heads = 0;            ///< 0: as many as heads
  int context_length = 0;
  double rope_theta = 0;
  double rms_eps = 0;
};

struct HfClass {
  std::string_view class_name;  ///< config.json "architectures"
  std::string_view model_type;  ///< config.json "model_type"; chooses the defaults
  ConfigDefaults defaults;
};

struct ArchSpec {
  std::string_view gguf_name;  ///< general.architecture
  std::span<const HfClass> hf_classes;
  std::span<const TensorRule> tensors;
  RopeStyle rope = RopeStyle::split_halves;
  /// Every n-th layer has no rotation (layers n-1, 2n-1, ...); 0: all have.
  int no_rope_every = 0;
  std::span<const ExtraKey> extra_keys = {};
  std::span<const VocabularySource> vocabulary = {};
  /// The vocabulary rules of the Llama class: add_prefix_space of tokenizer_config.json becomes a
  /// key of its own, and some sizes of vocabulary mean a model with known special tokens.
  bool llama_vocabulary = false;
};

namespace archs {
#define LQ_ARCH(id) extern const ArchSpec id;
#include "lib/model/archs.def"
#undef LQ_ARCH
}  // namespace archs

/// All families, a row of archs.def each.
std::span<const ArchSpec* const> all_archs();
/// Null when unknown.
const ArchSpec* find_arch(std::string_view gguf_name);
/// The family and class of a config.json "architectures" entry; nulls when unknown.
struct HfMatch {
  const ArchSpec* arch = nullptr;
  const HfClass* hf_class = nullptr;
};
HfMatch find_hf_class(std::string_view class_name);
/// Comma-separated names for messages.
std::string supported_archs();

/// The rule that `gguf_name` is an instance of and its layer number (-1 outside layers), or null.
struct RuleMatch {
  const TensorRule* rule = nullptr;
  int layer = -1;
};
RuleMatch match_gguf_name(const ArchSpec& arch, std::string_view gguf_name);
RuleMatch match_hf_name(const ArchSpec& arch, std::string_view hf_name);
/// `pattern` with its "{}" replaced.
std::string layer_name(std::string_view pattern, int layer);
/// Null when the family has no tensor of that name (a pattern, "{}" for the layer).
const TensorRule* find_rule(const ArchSpec& arch, std::string_view gguf_pattern);
/// The shape (GGUF order) that a rule demands.
std::vector<std::uint64_t> rule_shape(const TensorRule& rule, const HParams& hparams, int n_vocab);

}  // namespace lq
