#pragma once
// Logits to a token: a chain of steps (samplers.def), then a draw. Seeded and reproducible.
#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/random.h"
#include "lib/text/tokenizer.h"

namespace lq {

/// The numbers of samplers.def with their defaults.
struct SamplerOptions {
#define LQ_SAMPLER(id, option, key, value, neutral, least, most, whole, help) double id = value;
#define LQ_SAMPLER_SETTING LQ_SAMPLER
#include "lib/infer/samplers.def"
#undef LQ_SAMPLER
#undef LQ_SAMPLER_SETTING
};

/// A row of samplers.def, for option parsers and reports.
struct SamplerNumber {
  const char* name;
  const char* option;
  const char* key;  ///< metadata key with the model's own default
  double SamplerOptions::*field;
  double least, most;
  bool whole;
  const char* help;
};
std::span<const SamplerNumber> sampler_numbers();

/// The defaults, with what the model's metadata recommends. Throws Error(input) for a number out of
/// range.
SamplerOptions sampler_defaults(const Metadata& metadata);

struct Candidate {
  TokenId id;
  float logit;
};

class Sampler {
 public:
  Sampler(const SamplerOptions& options, std::uint64_t seed) : options_(options), random_(seed) {}

  /// The next token after `history`, drawn from `logits` [vocabulary]. Equal logits: the lower id
  /// first. Throws Error(input) when no logit is a number.
  TokenId sample(std::span<const float> logits, std::span<const TokenId> history);

 private:
  SamplerOptions options_;
  Random random_;
  std::vector<Candidate> candidates_;
};

/// The likeliest token: the lowest id among equal logits. Throws Error(input) when no logit is a
/// number.
TokenId likeliest(std::span<const float> logits);

}  // namespace lq
