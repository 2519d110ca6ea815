#pragma once
// config.json as numbers: the values that a family's configuration class would have, and the
// metadata that is made of them.
#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/monitor.h"
#include "lib/format/metadata.h"
#include "lib/jobs/convert_folder.h"
#include "lib/model/arch_spec.h"

namespace lq {

/// Scaling of rotary frequencies by ranges of wave length ("llama3").
struct RopeFrequencyScaling {
  double factor = 8, low = 1, high = 4;
  std::int64_t original_context = 8192;
};

/// What config.json says, with the defaults of the class filled in.
struct HfConfig {
  const ArchSpec* arch = nullptr;
  std::string file;  ///< for messages
  int n_layers = 0, n_ctx = 0, n_embd = 0, n_ff = 0, n_heads = 0, n_kv_heads = 0, n_vocab = 0;
  std::optional<int> head_dim;  ///< written when there
  double rope_theta = 0, rms_eps = 0;
  std::optional<double> linear_rope_factor;
  std::optional<RopeFrequencyScaling> frequency_scaling;

  int rope_dimensions() const { return head_dim ? *head_dim : n_embd / n_heads; }
};

/// A number of the model: what GGUF calls it, behind the architecture's name, and what config.json
/// does. The first of those names is the one that is written.
template <class T>
struct ConfigKey {
  T HfConfig::*member;
  std::string_view gguf;
  std::array<std::string_view, 4> hf;
};
/// Sizes that every model has.
inline constexpr ConfigKey<int> kSizeKeys[] = {
    {&HfConfig::n_layers,
     "block_count",
     {"num_hidden_layers", "n_layers", "n_layer", "num_layers"}},
    {&HfConfig::n_ctx,
     "context_length",
     {"max_position_embeddings", "n_ctx", "n_positions", "max_sequence_length"}},
    {&HfConfig::n_embd, "embedding_length", {"hidden_size", "n_embd", "dim"}},
    {&HfConfig::n_ff, "feed_forward_length", {"intermediate_size", "n_inner", "hidden_dim"}},
    {&HfConfig::n_heads, "attention.head_count", {"num_attention_heads", "n_head", "n_heads"}},
    {&HfConfig::n_kv_heads, "attention.head_count_kv", {"num_key_value_heads", "n_kv_heads"}},
};
inline constexpr ConfigKey<double> kThetaKey = {
    &HfConfig::rope_theta,
    "rope.freq_base",
    {"rope_theta", "global_rope_theta", "rotary_emb_base"}};
inline constexpr ConfigKey<double> kEpsKey = {
    &HfConfig::rms_eps, "attention.layer_norm_rms_epsilon", {"rms_norm_eps", "norm_eps"}};
inline constexpr ConfigKey<int> kVocabularyKey = {&HfConfig::n_vocab, "vocab_size", {"vocab_size"}};
inline constexpr std::string_view kHeadDimName = "head_dim";
inline constexpr std::string_view kHeadDimKeys[] = {"attention.key_length",
                                                    "attention.value_length"};
inline constexpr std::string_view kRopeTypeKey = "rope.scaling.type";
inline constexpr std::string_view kRopeFactorKey = "rope.scaling.factor";
/// Members of rope_scaling with rope_type "llama3".
struct FrequencyScalingKey {
  double RopeFrequencyScaling::*member;
  const char* hf;
};
inline constexpr FrequencyScalingKey kFrequencyScalingKeys[] = {
    {&RopeFrequencyScaling::factor, "factor"},
    {&RopeFrequencyScaling::low, "low_freq_factor"},
    {&RopeFrequencyScaling::high, "high_freq_factor"}};
inline constexpr const char* kOriginalContext = "original_max_position_embeddings";

/// Throws Error(input | unsupported) that names the member of config.json.
HfConfig read_hf_config(const HfFolder& folder, Monitor& monitor);
/// Appends the keys of the architecture, general.file_type among them, in the reference's order.
void add_parameters(const HfConfig& config, std::uint32_t file_type, Metadata& metadata);
/// Divisors of the rotary frequencies, one a pair; binary32 arithmetic as the reference's.
std::vector<float> rope_frequency_divisors(const RopeFrequencyScaling& scaling, double theta,
                                           int n_rot);

}  // namespace lq
