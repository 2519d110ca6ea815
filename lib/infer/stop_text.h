#pragma once
// Finds stop texts in a stream of pieces without letting a part of one out.
#include <string>
#include <string_view>
#include <vector>

namespace lq {

class StopText {
 public:
  explicit StopText(std::vector<std::string> stops);

  /// Takes more text and returns what can be shown: nothing that may still become a stop text. Once
  /// a stop text was found, matched() is true and everything from it on is dropped.
  std::string feed(std::string_view text);
  bool matched() const { return matched_; }
  /// What was held back, at the end of the stream.
  std::string flush();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool matched_ = false;
};

}  // namespace lq
