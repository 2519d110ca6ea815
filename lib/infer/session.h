#pragma once
// One text in the making: the prompt, the loop that extends it, and what both cost.
#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/monitor.h"
#include "lib/infer/decoder.h"
#include "lib/infer/kv_cache.h"
#include "lib/infer/model.h"
#include "lib/infer/sampler.h"

namespace lq {

struct SessionOptions {
  int context = 0;             ///< positions; 0: what the model was trained for, at most 8192
  int max_batch = 512;         ///< prompt tokens a step
  DType kv_type = DType::F16;  ///< of the cache: one of cache_types()
};

enum class FinishReason { stop, length, context, interrupted };
const char* name_of(FinishReason reason);

struct GenerateOptions {
  int max_tokens = -1;             ///< negative: until the context is full
  std::vector<std::string> stops;  ///< the answer ends before the first of these texts
  bool ignore_end = false;         ///< goes on after an end-of-generation token (benchmarks)
};

/// What a call of generate() made and what it and the prompt before it cost.
struct Answer {
  std::string text;
  std::vector<TokenId> ids;  ///< without the ending token
  FinishReason finish = FinishReason::stop;
};

struct SessionTimings {
  int prompt_tokens = 0;     ///< of the last prompt, cached ones included
  int cached_tokens = 0;     ///< of these, found in the cache
  int generated_tokens = 0;  ///< sampled after it
  std::chrono::nanoseconds prompt{}, first_token{}, generate{};
};

/// A sequence with a cache of its own. `model` outlives it.
class Session {
 public:
  Session(const Model& model, const SessionOptions& options);

  int context() const { return context_; }
  const KvCache& cache() const { return cache_; }
  /// Forgets everything.
  void clear();
  /// Makes `ids` the whole text so far. What it has in common with the text before stays in the
  /// cache. Throws Error(input) when it does not fit, Error(interrupted).
  void set_prompt(std::span<const TokenId> ids, Monitor& monitor);
  /// Extends the text. `on_text` gets the answer's bytes as they become certain: whole characters,
  /// never a part of a stop text. A stop request of `monitor` ends the answer; it does not throw.
  Answer generate(Sampler& sampler, const GenerateOptions& options,
                  const std::function<void(std::string_view)>& on_text, Monitor& monitor);
  const SessionTimings& timings() const { return timings_; }
  /// Logits after the text so far, [n_vocab].
  std::span<const float> logits() const { return logits_; }

 private:
  bool extend(TokenId id);

  const Model& model_;
  int context_;
  KvCache cache_;
  KvSequence sequence_;
  Decoder decoder_;
  std::vector<TokenId> ids_;  ///< the text; the last may not be in the cache yet
  std::vector<float> logits_;
  SessionTimings timings_;
};

}  // namespace lq
