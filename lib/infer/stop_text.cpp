#include "lib/infer/stop_text.h"

#include <algorithm>
#include <utility>

namespace lq {

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string StopText::feed(std::string_view text) {
  if (matched_) return {};
  held_ += text;
  std::size_t found = std::string::npos;
  for (const std::string& stop : stops_) found = std::min(found, held_.find(stop));
  if (found != std::string::npos) {
    matched_ = true;
    std::string shown = held_.substr(0, found);
    held_.clear();
    return shown;
  }
  // The longest tail that is the beginning of a stop text stays.
  std::size_t keep = 0;
  for (const std::string& stop : stops_)
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n)
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) keep = n;
  std::string shown = held_.substr(0, held_.size() - keep);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopText::flush() { return std::exchange(held_, {}); }

}  // namespace lq
