#pragma once
// Tokens and a cache to logits: the one forward pass of every family.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/infer/kv_cache.h"
#include "lib/infer/weights.h"
#include "lib/text/tokenizer.h"

namespace lq {

/// Owns its scratch memory; a step allocates nothing. `weights`, `hparams` and `backend` outlive
/// it.
class Decoder {
 public:
  /// `max_batch`: the most tokens of one step. Throws Error(resource).
  Decoder(const Weights& weights, const HParams& hparams, Backend& backend, int max_batch);

  int max_batch() const { return max_batch_; }
  int n_vocab() const { return weights_.n_vocab; }

  /// Runs `tokens` (1 to max_batch(), all in [0, n_vocab())) at the end of `sequence`, which has
  /// reserved room for them, and advances it. Writes the logits of the tokens from `first_logits`
  /// on to `logits` [tokens.size() - first_logits][n_vocab].
  void forward(std::span<const TokenId> tokens, KvSequence& sequence, std::size_t first_logits,
               std::span<float> logits);

 private:
  void layer(int index, int n_tokens, const KvSequence& sequence);
  void head(int first, int n_tokens, std::span<float> logits);
  View rows(View all, int n) const { return {all.data, n, all.cols}; }

  const Weights& weights_;
  const HParams& hparams_;
  Backend& backend_;
  int max_batch_;
  std::unique_ptr<Buffer> memory_;
  View x_, normed_, q_, k_, v_, attended_, projected_, gate_, up_, logits_;
};

}  // namespace lq
