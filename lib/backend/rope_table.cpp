#include "lib/backend/rope_table.h"

#include <algorithm>
#include <cmath>

namespace lq {
namespace {

std::size_t pairs_of(const RopeArgs& args) { return static_cast<std::size_t>(args.n_rot / 2); }

}  // namespace

bool RopeTable::holds(const RopeArgs& args, int first_position, int n_positions) const {
  if (args.n_rot != args_.n_rot || args.base != args_.base || args.scale != args_.scale)
    return false;
  if ((args.frequency_divisors != nullptr) != !divisors_.empty()) return false;
  if (args.frequency_divisors &&
      !std::equal(divisors_.begin(), divisors_.end(), args.frequency_divisors))
    return false;
  return first_position == first_position_ && n_positions <= n_positions_;
}

void RopeTable::prepare(const RopeArgs& args, int first_position, int n_positions) {
  if (holds(args, first_position, n_positions)) return;
  const std::size_t pairs = pairs_of(args);
  args_ = args;
  divisors_.clear();
  if (args.frequency_divisors)
    divisors_.assign(args.frequency_divisors, args.frequency_divisors + pairs);
  frequencies_.resize(pairs);
  for (std::size_t i = 0; i < pairs; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(args.n_rot);
    const auto power = static_cast<float>(std::pow(static_cast<double>(args.base), exponent));
    frequencies_[i] = 1.0f / power * args.scale;
    if (args.frequency_divisors) frequencies_[i] /= args.frequency_divisors[i];
  }
  first_position_ = first_position;
  n_positions_ = n_positions;
  cos_.resize(static_cast<std::size_t>(n_positions) * pairs);
  sin_.resize(cos_.size());
  for (std::size_t t = 0; t < static_cast<std::size_t>(n_positions); ++t) {
    const float position = static_cast<float>(first_position + static_cast<int>(t));
    for (std::size_t i = 0; i < pairs; ++i) {
      const double angle = position * frequencies_[i];  // rounded to binary32 first
      cos_[t * pairs + i] = static_cast<float>(std::cos(angle));
      sin_[t * pairs + i] = static_cast<float>(std::sin(angle));
    }
  }
}

void RopeTable::rotate(int i, bool adjacent, float* head) const {
  const std::size_t pairs = pairs_of(args_);
  const float* const cosine = cos_.data() + static_cast<std::size_t>(i) * pairs;
  const float* const sine = sin_.data() + static_cast<std::size_t>(i) * pairs;
  const std::size_t step = adjacent ? 2 : 1, distance = adjacent ? 1 : pairs;
  for (std::size_t p = 0; p < pairs; ++p) {
    float& first = head[p * step];
    float& second = head[p * step + distance];
    const float a = first, b = second;
    first = a * cosine[p] - b * sine[p];
    second = b * cosine[p] + a * sine[p];
  }
}

}  // namespace lq
