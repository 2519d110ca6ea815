#include "lib/jobs/quality_scores.h"

#include <algorithm>
#include <cmath>

#include "lib/base/error.h"

namespace lq {
namespace {

constexpr float kLeastStored = -16;  ///< stored log-probabilities below are not what they were

constexpr Quantile kQuantiles[] = {
    {"max", "max", 1},          {"p99_9", "99.9 %", 0.999f}, {"p99", "99 %", 0.99f},
    {"p95", "95 %", 0.95f},     {"p90", "90 %", 0.9f},       {"p75", "75 %", 0.75f},
    {"median", "median", 0.5f}, {"p25", "25 %", 0.25f},      {"p10", "10 %", 0.1f},
    {"p5", "5 %", 0.05f},       {"p1", "1 %", 0.01f},        {"p0_1", "0.1 %", 0.001f},
    {"min", "min", 0}};

/// Logits as log-probabilities: logit - peak - log(total).
class LogSoftmax {
 public:
  explicit LogSoftmax(std::span<const float> logits)
      : logits_(logits),
        top_(static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) -
                                      logits.begin())),
        peak_(logits[top_]) {
    for (const float logit : logits) total_ += static_cast<double>(std::exp(logit - peak_));
    shift_ = static_cast<double>(peak_) + std::log(total_);
  }
  std::size_t top() const { return top_; }
  double operator[](std::size_t i) const { return static_cast<double>(logits_[i]) - shift_; }
  /// With the same exponentials that the total was made of.
  double probability(std::size_t i) const {
    return static_cast<double>(std::exp(logits_[i] - peak_)) / total_;
  }

 private:
  std::span<const float> logits_;
  std::size_t top_;
  float peak_;
  double total_ = 0, shift_ = 0;
};

template <class Of>
std::vector<double> values_of_scores(std::span<const TokenScore> scores, const Of& of) {
  std::vector<double> values;
  values.reserve(scores.size());
  for (const TokenScore& score : scores) values.push_back(of(score));
  return values;
}

std::vector<double> losses_of(std::span<const TokenScore> scores) {
  return values_of_scores(scores, [](const TokenScore& score) { return score.loss; });
}

/// Of the means.
double covariance(std::span<const double> a, std::span<const double> b) {
  if (a.size() < 2) return 0;
  const double mean_a = mean_of(a).value, mean_b = mean_of(b).value;
  const auto n = static_cast<double>(a.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - mean_a) * (b[i] - mean_b);
  return sum / n / (n - 1);
}

Estimate exponential_of(const Estimate& estimate) {
  const double value = std::exp(estimate.value);
  return {value, value * estimate.error};
}

Estimate root_mean_square(std::span<const double> values) {
  std::vector<double> squares;
  for (const double value : values) squares.push_back(value * value);
  const Estimate mean = mean_of(squares);
  const double root = std::sqrt(mean.value);
  return {root, root > 0 ? 0.5 / root * mean.error : 0};
}

}  // namespace

double TokenScore::probability_change() const { return std::exp(-loss) - std::exp(-base_loss); }

TokenScore score_token(std::span<const float> logits, TokenId next) {
  return {.loss = -LogSoftmax(logits)[static_cast<std::size_t>(next)]};
}

TokenScore score_token(std::span<const float> logits, std::span<const float> reference,
                       TokenId next) {
  const LogSoftmax model(logits), base(reference);
  const auto token = static_cast<std::size_t>(next);
  TokenScore score{.loss = -model[token], .base_loss = -base[token]};
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double p = base.probability(i);
    if (p > 0) score.divergence += p * (base[i] - model[i]);
  }
  score.same_top = model.top() == base.top();
  return score;
}

TokenScore score_token(std::span<const float> logits, const BaseRow& row, TokenId next,
                       double& total) {
  const LogSoftmax model(logits);
  const auto token = static_cast<std::size_t>(next);
  TokenScore score{.loss = -model[token],
                   .base_loss = -static_cast<double>(row.log_probability(token))};
  std::size_t top = 0;
  float most = row.log_probability(0);
  total = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float stored = row.log_probability(i);
    if (stored > most) {
      most = stored;
      top = i;
    }
    if (!(stored > kLeastStored)) continue;
    const auto p = static_cast<double>(std::exp(stored));
    total += p;
    score.divergence += p * (static_cast<double>(stored) - model[i]);
  }
  score.same_top = model.top() == top;
  return score;
}

Estimate mean_of(std::span<const double> values) {
  if (values.empty()) return {};
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double mean = sum / n;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() > 1 ? std::sqrt(squares / n / (n - 1)) : 0};
}

Estimate perplexity_of(std::span<const double> losses) { return exponential_of(mean_of(losses)); }

std::span<const Quantile> quantiles() { return kQuantiles; }

float quantile_of(std::span<const float> sorted, float fraction) {
  LQ_ASSERT(!sorted.empty());
  if (fraction <= 0) return sorted.front();
  if (fraction >= 1) return sorted.back();
  const float place = fraction * static_cast<float>(sorted.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(place), sorted.size() - 1);
  const float rest = place - static_cast<float>(below);
  return (1 - rest) * sorted[below] + rest * sorted[std::min(below + 1, sorted.size() - 1)];
}

std::vector<float> quantiles_of(std::span<const double> values) {
  std::vector<float> sorted, result;
  for (const double value : values) sorted.push_back(static_cast<float>(value));
  std::sort(sorted.begin(), sorted.end());
  for (const Quantile& quantile : kQuantiles)
    result.push_back(quantile_of(sorted, quantile.fraction));
  return result;
}

Estimate perplexity_of(std::span<const TokenScore> scores) {
  return perplexity_of(losses_of(scores));
}

Divergence divergence_of(std::span<const TokenScore> scores) {
  const auto losses = losses_of(scores);
  const auto base_losses =
      values_of_scores(scores, [](const TokenScore& score) { return score.base_loss; });
  const auto divergences =
      values_of_scores(scores, [](const TokenScore& score) { return score.divergence; });
  const auto changes =
      values_of_scores(scores, [](const TokenScore& score) { return score.probability_change(); });
  const auto gains = values_of_scores(
      scores, [](const TokenScore& score) { return score.loss - score.base_loss; });
  const auto same =
      values_of_scores(scores, [](const TokenScore& score) { return score.same_top ? 1.0 : 0.0; });
  Divergence result{.mean = mean_of(divergences),
                    .quantiles = quantiles_of(divergences),
                    .base_perplexity = perplexity_of(base_losses),
                    .log_ratio = mean_of(gains),
                    .same_top = mean_of(same),
                    .change = mean_of(changes),
                    .change_rms = root_mean_square(changes),
                    .change_quantiles = quantiles_of(changes)};
  result.ratio = exponential_of(result.log_ratio);
  const Estimate perplexity = perplexity_of(losses);
  const double shared = covariance(losses, base_losses);
  result.correlation = shared / (mean_of(losses).error * mean_of(base_losses).error);
  const double product = perplexity.value * result.base_perplexity.value;
  const double variance = perplexity.error * perplexity.error +
                          result.base_perplexity.error * result.base_perplexity.error -
                          2 * product * shared;
  result.difference = {perplexity.value - result.base_perplexity.value,
                       std::sqrt(std::max(variance, 0.0))};
  return result;
}

}  // namespace lq
