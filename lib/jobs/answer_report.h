#pragma once
// An answer with everything that shaped it and what it cost, as JSON and as one line of figures.
#include <chrono>
#include <optional>
#include <string>

#include "lib/base/json.h"
#include "lib/infer/session.h"

namespace lq {

struct AnswerReport {
  Answer answer;
  SessionTimings timings;
  std::chrono::nanoseconds load{};
  std::optional<std::string> prompt;  ///< when it was asked for
  // Resolved settings.
  SamplerOptions sampler;
  std::uint64_t seed = 0;
  int context = 0, max_tokens = -1, threads = 0;
  DType kv_type = DType::F16;
  bool templated = false;
};

/// lq.run.answer/1. Bytes of the text that are not UTF-8 become U+FFFD.
OrderedJson to_json(const AnswerReport& report, const Model& model);

/// "18 prompt tokens (2 cached) 950 t/s, 12 generated 310 t/s, first token after 19.0 ms".
std::string stats_text(const SessionTimings& timings);

}  // namespace lq
