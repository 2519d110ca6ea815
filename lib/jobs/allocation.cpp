#include "lib/jobs/allocation.h"

#include <algorithm>
#include <queue>

#include "lib/base/error.h"

namespace lq {
namespace {

/// Loss saved a byte.
double slope(const SizeOption& from, const SizeOption& to) {
  return (from.loss - to.loss) / static_cast<double>(to.bytes - from.bytes);
}

/// A step along a thing's hull.
struct Step {
  double slope;
  std::size_t thing, hull_index;  ///< to which point of its hull

  /// For a queue that gives the steepest first, and of equal ones the first thing's.
  bool operator<(const Step& other) const {
    return slope != other.slope ? slope < other.slope : thing > other.thing;
  }
};

class Allocator {
 public:
  Allocator(const std::vector<SizeOptions>& things, std::uint64_t budget)
      : things_(things), chosen_(things.size(), 0), left_(budget) {
    for (const SizeOptions& options : things_) {
      LQ_ASSERT(!options.empty() && options.front().bytes <= left_);
      left_ -= options.front().bytes;
    }
  }

  std::vector<std::size_t> run(int exchanges) {
    climb();
    for (int i = 0; i < exchanges && exchange(); ++i) {
    }
    return chosen_;
  }

 private:
  void climb() {
    std::vector<std::vector<std::size_t>> hulls;
    std::priority_queue<Step> steps;
    const auto push = [&](std::size_t thing, std::size_t to) {
      if (to >= hulls[thing].size()) return;
      const SizeOptions& options = things_[thing];
      steps.push({slope(options[hulls[thing][to - 1]], options[hulls[thing][to]]), thing, to});
    };
    for (std::size_t i = 0; i < things_.size(); ++i) {
      hulls.push_back(lower_hull(things_[i]));
      push(i, 1);
    }
    while (!steps.empty()) {
      const Step step = steps.top();
      steps.pop();
      const std::size_t option = hulls[step.thing][step.hull_index];
      const std::uint64_t more = growth(step.thing, option);
      if (more > left_) continue;  // smaller things may still fit
      chosen_[step.thing] = option;
      left_ -= more;
      push(step.thing, step.hull_index + 1);
    }
  }

  const SizeOption& current(std::size_t thing) const { return things_[thing][chosen_[thing]]; }
  std::uint64_t growth(std::size_t thing, std::size_t option) const {
    return things_[thing][option].bytes - current(thing).bytes;
  }

  /// Lets one thing grow, and another shrink if that needs to be, so that the most loss is saved.
  /// False when nothing can be saved.
  bool exchange() {
    double best = 0;
    std::size_t grows = 0, to = 0, shrinks = 0, down = 0;
    for (std::size_t a = 0; a < things_.size(); ++a)
      for (std::size_t i = chosen_[a] + 1; i < things_[a].size(); ++i) {
        const double saved = current(a).loss - things_[a][i].loss;
        if (saved <= best) continue;
        const std::uint64_t more = growth(a, i);
        if (more <= left_) {
          best = saved, grows = shrinks = a, to = i;
          continue;
        }
        for (std::size_t b = 0; b < things_.size(); ++b) {
          if (b == a) continue;
          for (std::size_t j = chosen_[b]; j-- > 0;) {
            const double lost = things_[b][j].loss - current(b).loss;
            if (saved - lost <= best) break;  // smaller options lose more
            if (more > left_ + (current(b).bytes - things_[b][j].bytes)) continue;
            best = saved - lost, grows = a, to = i, shrinks = b, down = j;
            break;
          }
        }
      }
    if (best <= 0) return false;
    if (shrinks != grows) {
      left_ += current(shrinks).bytes - things_[shrinks][down].bytes;
      chosen_[shrinks] = down;
    }
    left_ -= growth(grows, to);
    chosen_[grows] = to;
    return true;
  }

  const std::vector<SizeOptions>& things_;
  std::vector<std::size_t> chosen_;
  std::uint64_t left_;
};

}  // namespace

std::vector<std::size_t> lower_hull(const SizeOptions& options) {
  std::vector<std::size_t> hull;
  for (std::size_t i = 0; i < options.size(); ++i) {
    while (hull.size() >= 2 && slope(options[hull[hull.size() - 2]], options[hull.back()]) <=
                                   slope(options[hull[hull.size() - 2]], options[i]))
      hull.pop_back();
    hull.push_back(i);
  }
  return hull;
}

std::vector<std::size_t> allocate(const std::vector<SizeOptions>& things, std::uint64_t budget,
                                  int exchanges) {
  return Allocator(things, budget).run(exchanges);
}

}  // namespace lq
