#pragma once
// config.json, generation_config.json and README.md from a GGUF file's metadata.
#include <optional>
#include <string>
#include <vector>

#include "lib/base/monitor.h"
#include "lib/jobs/convert_config.h"
#include "lib/jobs/quantization_config.h"
#include "lib/model/hparams.h"

namespace lq {

/// What the tensors say about the configuration.
struct TensorFacts {
  DType type = DType::BF16;               ///< of the model
  int n_vocab = 0;                        ///< rows of the embedding
  bool tied = false;                      ///< the embedding is the output, too
  bool attention_bias = false;            ///< on queries, keys, values and the output of attention
  std::vector<float> rope_divisors = {};  ///< of the rotary frequencies; empty: none
};

/// The text of config.json. Keys of the architecture that it cannot say are warned about. Throws
/// Error(unsupported) for what no class of the family has.
std::string restored_config(const Metadata& metadata, const HParams& hparams,
                            const TensorFacts& facts, Monitor& monitor);

/// generation_config.json when the file says something that belongs there: settings for choosing
/// tokens, or several tokens that end a text.
std::optional<ConfigFile> restored_generation_config(const Metadata& metadata);

/// README.md whose front matter says under which licence the model is, what it is called and where
/// it comes from; nothing when the file does not say.
std::optional<ConfigFile> restored_card(const Metadata& metadata);

/// The scaling by which rope_frequency_divisors() makes these divisors. Of the settings that do,
/// low and high are those of the published models where possible. Nothing when there is none.
std::optional<RopeFrequencyScaling> find_frequency_scaling(const std::vector<float>& divisors,
                                                           double theta, int n_rot);

}  // namespace lq
