#include "lib/infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "lib/base/error.h"

namespace lq {
namespace {

using Candidates = std::vector<Candidate>;

struct StepContext {
  const SamplerOptions& options;
  std::span<const TokenId> history;
};

bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

void sort(Candidates& candidates) { std::sort(candidates.begin(), candidates.end(), likelier); }

float largest_logit(const Candidates& candidates) {
  return std::max_element(candidates.begin(), candidates.end(),
                          [](auto& a, auto& b) { return a.logit < b.logit; })
      ->logit;
}

/// Probabilities of the candidates, in their order.
std::vector<double> probabilities(const Candidates& candidates) {
  const float peak = largest_logit(candidates);
  std::vector<double> result;
  result.reserve(candidates.size());
  double sum = 0;
  for (const Candidate& c : candidates) {
    result.push_back(std::exp(static_cast<double>(c.logit) - static_cast<double>(peak)));
    sum += result.back();
  }
  for (double& p : result) p /= sum;
  return result;
}

/// Keskar et al. 2019: positive logits are divided by the penalty, negative ones multiplied with
/// it.
void repeat_penalty(Candidates& candidates, const StepContext& context) {
  const auto last_n = static_cast<std::size_t>(context.options.repeat_last_n);
  const auto recent = context.history.last(std::min(last_n, context.history.size()));
  const std::unordered_set<TokenId> seen(recent.begin(), recent.end());
  const auto penalty = static_cast<float>(context.options.repeat_penalty);
  for (Candidate& c : candidates)
    if (seen.count(c.id)) c.logit = c.logit > 0 ? c.logit / penalty : c.logit * penalty;
}

void top_k(Candidates& candidates, const StepContext& context) {
  const auto k = static_cast<std::size_t>(context.options.top_k);
  if (k >= candidates.size()) return;
  const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(k);
  std::nth_element(candidates.begin(), end, candidates.end(), likelier);
  candidates.resize(k);
}

/// Holtzman et al. 2020 (nucleus sampling). At least one candidate stays.
void top_p(Candidates& candidates, const StepContext& context) {
  sort(candidates);
  const std::vector<double> p = probabilities(candidates);
  double sum = 0;
  std::size_t n = 0;
  while (n < p.size() && (n == 0 || sum < context.options.top_p)) sum += p[n++];
  candidates.resize(n);
}

void min_p(Candidates& candidates, const StepContext& context) {
  const double bound =
      static_cast<double>(largest_logit(candidates)) + std::log(context.options.min_p);
  std::erase_if(candidates,
                [&](const Candidate& c) { return static_cast<double>(c.logit) < bound; });
}

void temperature(Candidates& candidates, const StepContext& context) {
  const double t = context.options.temperature;
  if (t == 0) {
    candidates = {*std::min_element(candidates.begin(), candidates.end(), likelier)};
    return;
  }
  const double peak = static_cast<double>(largest_logit(candidates));
  for (Candidate& c : candidates)
    c.logit = static_cast<float>((static_cast<double>(c.logit) - peak) / t);
}

struct Step {
  double SamplerOptions::*field;
  double neutral;
  void (*apply)(Candidates&, const StepContext&);
};

constexpr Step kSteps[] = {
#define LQ_SAMPLER(id, option, key, value, neutral, least, most, whole, help) \
  {&SamplerOptions::id, neutral, id},
#define LQ_SAMPLER_SETTING(...)
#include "lib/infer/samplers.def"
#undef LQ_SAMPLER
#undef LQ_SAMPLER_SETTING
};

constexpr SamplerNumber kNumbers[] = {
#define LQ_SAMPLER(id, option, key, value, neutral, least, most, whole, help) \
  {#id, option, key, &SamplerOptions::id, least, most, whole, help},
#define LQ_SAMPLER_SETTING LQ_SAMPLER
#include "lib/infer/samplers.def"
#undef LQ_SAMPLER
#undef LQ_SAMPLER_SETTING
};

}  // namespace

std::span<const SamplerNumber> sampler_numbers() { return kNumbers; }

SamplerOptions sampler_defaults(const Metadata& metadata) {
  SamplerOptions options;
  for (const SamplerNumber& number : kNumbers) {
    const auto value = metadata.find_number(number.key);
    if (!value) continue;
    // top_k and penalty_last_n: -1 stands for all.
    const double clipped = number.whole && *value == -1 ? number.least : *value;
    if (!(clipped >= number.least && clipped <= number.most))
      fail(ErrorKind::input, metadata.file_name(), ": ", number.key, " is ", *value, "; expected ",
           number.least, " to ", number.most);
    options.*number.field = clipped;
  }
  return options;
}

TokenId likeliest(std::span<const float> logits) {
  std::size_t best = logits.size();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (!std::isnan(logits[i]) && (best == logits.size() || logits[i] > logits[best])) best = i;
  if (best == logits.size())
    fail(ErrorKind::input, "the model computed no valid number; its weights may be damaged");
  return static_cast<TokenId>(best);
}

TokenId Sampler::sample(std::span<const float> logits, std::span<const TokenId> history) {
  if (options_.temperature == 0 && options_.repeat_penalty == 1) return likeliest(logits);
  candidates_.clear();
  candidates_.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (std::isfinite(logits[i])) candidates_.push_back({static_cast<TokenId>(i), logits[i]});
  if (candidates_.empty())
    fail(ErrorKind::input, "the model computed no valid number; its weights may be damaged");
  const StepContext context{options_, history};
  for (const Step& step : kSteps)
    if (options_.*step.field != step.neutral) step.apply(candidates_, context);
  if (candidates_.size() == 1) return candidates_[0].id;
  sort(candidates_);
  double draw = random_.uniform();
  const std::vector<double> p = probabilities(candidates_);
  for (std::size_t i = 0; i < p.size(); ++i)
    if ((draw -= p[i]) < 0) return candidates_[i].id;
  return candidates_.back().id;
}

}  // namespace lq
