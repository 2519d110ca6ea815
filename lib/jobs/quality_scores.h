#pragma once
// How well a model predicts a text, and how far what it says is from what another one says.
#include <span>
#include <vector>

#include "lib/jobs/base_logits.h"
#include "lib/text/tokenizer.h"

namespace lq {

/// One scored token. Losses are negative log-probabilities of the token that follows, in nats; what
/// is about the reference is 0 without one. Numbers that are not finite come from logits that are
/// not.
struct TokenScore {
  double loss = 0, base_loss = 0;
  double divergence = 0;  ///< Kullback-Leibler, of the model from the reference, in nats
  bool same_top = false;  ///< both find the same token likeliest

  /// Of the probability of the token that follows: the model's less the reference's.
  double probability_change() const;
};

/// `logits` [n_vocab]; `next`: the token that follows.
TokenScore score_token(std::span<const float> logits, TokenId next);
/// Against the reference's logits: log-probabilities are not rounded, and all of the vocabulary
/// counts.
TokenScore score_token(std::span<const float> logits, std::span<const float> reference,
                       TokenId next);
/// Against a stored row, as the reference program does: entries above -16 count. `total` is what
/// their probabilities add up to.
TokenScore score_token(std::span<const float> logits, const BaseRow& row, TokenId next,
                       double& total);

/// A figure and its standard error.
struct Estimate {
  double value = 0, error = 0;
};
/// Mean; error: sqrt(variance / (n - 1)), 0 for one value. Of nothing: all zero.
Estimate mean_of(std::span<const double> values);
/// exp of the mean loss.
Estimate perplexity_of(std::span<const double> losses);

/// Where values lie: a row of quantiles().
struct Quantile {
  const char* key;    ///< "p99_9"
  const char* title;  ///< "99.9 %"
  float fraction;
};
/// From the largest value to the smallest; 0.5 is the median.
std::span<const Quantile> quantiles();
/// Of sorted values, at least one: between two neighbours in proportion.
float quantile_of(std::span<const float> sorted, float fraction);
/// A value for each of quantiles().
std::vector<float> quantiles_of(std::span<const double> values);

/// What scores against a reference come to.
struct Divergence {
  Estimate mean;  ///< Kullback-Leibler divergence
  std::vector<float> quantiles;
  Estimate base_perplexity;
  Estimate log_ratio, ratio, difference;  ///< of the perplexity to the reference's
  double correlation = 0;                 ///< of the losses; not a number when they do not vary
  Estimate same_top;                      ///< share of the tokens
  Estimate change, change_rms;            ///< TokenScore::probability_change()
  std::vector<float> change_quantiles;
};

Estimate perplexity_of(std::span<const TokenScore> scores);
Divergence divergence_of(std::span<const TokenScore> scores);

}  // namespace lq
