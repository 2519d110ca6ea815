#pragma once
// config.json as numbers: the values that a family's configuration class would have, and the
// metadata that is made of them.
#include <optional>
#include <string>
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

/// Throws Error(input | unsupported) that names the member of config.json.
HfConfig read_hf_config(const HfFolder& folder, Monitor& monitor);
/// Appends the keys of the architecture, general.file_type among them, in the reference's order.
void add_parameters(const HfConfig& config, std::uint32_t file_type, Metadata& metadata);
/// Divisors of the rotary frequencies, one a pair; binary32 arithmetic as the reference's.
std::vector<float> rope_frequency_divisors(const RopeFrequencyScaling& scaling, double theta,
                                           int n_rot);

}  // namespace lq
