#pragma once
// Tokens and a cache to logits: the one forward pass of every family.
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/infer/kv_cache.h"
#include "lib/infer/weights.h"
#include "lib/text/tokenizer.h"

namespace lq {

/// Sees what the matrices of a model are multiplied with: what calibration needs.
class MatmulObserver {
 public:
  virtual ~MatmulObserver() = default;
  /// `weight` (of the decoder's Weights) is multiplied with the rows of `input`, which are in the
  /// backend's memory and change after the call. `experts` says which expert of a stacked weight
  /// each row goes to; empty: the weight is one matrix.
  virtual void on_matmul(const WeightView& weight, View input,
                         std::span<const std::int32_t> experts) = 0;
};

/// Owns its scratch memory; a step allocates nothing. `weights`, `hparams` and `backend` outlive
/// it.
class Decoder {
 public:
  /// `max_batch`: the most tokens of one step. Throws Error(resource).
  Decoder(const Weights& weights, const HParams& hparams, Backend& backend, int max_batch);

  /// `observer` (null: none) outlives the steps that follow.
  void set_observer(MatmulObserver* observer) { observer_ = observer; }
  int max_batch() const { return max_batch_; }
  int n_vocab() const { return weights_.n_vocab; }

  /// Runs `tokens` (1 to max_batch(), all in [0, n_vocab())) at the end of `sequence`, which has
  /// reserved room for them, and advances it. Writes the logits of the tokens from `first_logits`
  /// on to `logits` [tokens.size() - first_logits][n_vocab].
  void forward(std::span<const TokenId> tokens, KvSequence& sequence, std::size_t first_logits,
               std::span<float> logits);

 private:
  AttentionRounding attention_rounding(const LayerWeights& weights) const;
  void layer(int index, int n_tokens, const KvSequence& sequence);
  void feed_forward(const LayerWeights& w, View x);
  void head(int first, int n_tokens, std::span<float> logits);
  View rows(View all, int n) const { return {all.data, n, all.cols}; }
  void observe(std::initializer_list<const WeightView*> weights, View input);

  const Weights& weights_;
  const HParams& hparams_;
  Backend& backend_;
  int max_batch_;
  MatmulObserver* observer_ = nullptr;
  std::unique_ptr<Buffer> memory_;
  View x_, normed_, q_, k_, v_, attended_, projected_, gate_, up_, logits_;
};

}  // namespace lq
