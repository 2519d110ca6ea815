// Choices within a size, compared with trying all of them.
#include "lib/jobs/allocation.h"

#include <doctest/doctest.h>

#include "lib/base/random.h"

namespace lq {
namespace {

SizeOptions random_options(Random& random) {
  SizeOptions options;
  std::uint64_t bytes = 10 + static_cast<std::uint64_t>(random.uniform() * 100);
  double loss = 100 * random.uniform() + 1;
  for (int i = 0; i < 4; ++i) {
    options.push_back({bytes, loss});
    bytes += 1 + static_cast<std::uint64_t>(random.uniform() * 80);
    loss *= random.uniform();
  }
  return options;
}

std::uint64_t bytes_of(const std::vector<SizeOptions>& things,
                       const std::vector<std::size_t>& choice) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < things.size(); ++i) bytes += things[i][choice[i]].bytes;
  return bytes;
}

double loss_of(const std::vector<SizeOptions>& things, const std::vector<std::size_t>& choice) {
  double loss = 0;
  for (std::size_t i = 0; i < things.size(); ++i) loss += things[i][choice[i]].loss;
  return loss;
}

/// The least loss of all choices.
double least_loss(const std::vector<SizeOptions>& things, std::uint64_t budget) {
  std::vector<std::size_t> choice(things.size(), 0);
  double least = loss_of(things, choice);
  for (std::size_t at = 0; at < things.size();) {
    if (++choice[at] == things[at].size()) {
      choice[at++] = 0;
      continue;
    }
    at = 0;
    if (bytes_of(things, choice) <= budget) least = std::min(least, loss_of(things, choice));
  }
  return least;
}

}  // namespace

TEST_CASE("an allocation fits and loses hardly more than the best of all") {
  Random random(3);
  double ratios = 0;
  constexpr int kProblems = 60;
  for (int problem = 0; problem < kProblems; ++problem) {
    std::vector<SizeOptions> things;
    for (int i = 0; i < 6; ++i) things.push_back(random_options(random));
    const std::uint64_t least = bytes_of(things, std::vector<std::size_t>(6, 0));
    const std::uint64_t most = bytes_of(things, std::vector<std::size_t>(6, 3));
    const std::uint64_t budget =
        least + static_cast<std::uint64_t>(random.uniform() * static_cast<double>(most - least));
    const auto choice = allocate(things, budget, 100);
    CHECK(bytes_of(things, choice) <= budget);
    const double best = least_loss(things, budget);
    CHECK(loss_of(things, choice) < 1.5 * best);
    ratios += loss_of(things, choice) / best;
    CHECK(loss_of(things, choice) <= loss_of(things, allocate(things, budget, 0)));
    CHECK(allocate(things, least, 100) == std::vector<std::size_t>(6, 0));
    CHECK(allocate(things, most, 100) == std::vector<std::size_t>(6, 3));
  }
  CHECK(ratios / kProblems < 1.03);
}

TEST_CASE("the lower hull leaves out what a mixture of its neighbours betters") {
  const SizeOptions options = {{10, 100}, {20, 90}, {30, 10}, {40, 9}, {50, 0}};
  CHECK(lower_hull(options) == std::vector<std::size_t>{0, 2, 4});
  CHECK(lower_hull({{10, 1}}) == std::vector<std::size_t>{0});
}

}  // namespace lq
