#include "lib/infer/decoder.h"

#include <algorithm>
#include <cmath>

#include "lib/base/error.h"
#include "lib/model/arch_spec.h"

namespace lq {
namespace {

/// Rows of logits that are computed at a time: bounds the scratch memory of long texts.
constexpr int kLogitsRows = 32;
constexpr std::size_t kAlignment = 64 / sizeof(float);

}  // namespace

Decoder::Decoder(const Weights& weights, const HParams& hparams, Backend& backend, int max_batch)
    : weights_(weights), hparams_(hparams), backend_(backend), max_batch_(max_batch) {
  struct Part {
    View* view;
    int rows, cols;
  };
  const Part parts[] = {
      {&x_, max_batch, hparams.n_embd},
      {&normed_, max_batch, hparams.n_embd},
      {&q_, max_batch, hparams.n_heads * hparams.head_dim},
      {&k_, max_batch, hparams.n_kv_heads * hparams.head_dim},
      {&v_, max_batch, hparams.n_kv_heads * hparams.value_dim},
      {&attended_, max_batch, hparams.n_heads * hparams.value_dim},
      {&projected_, max_batch, hparams.n_embd},
      {&gate_, max_batch, hparams.n_ff},
      {&up_, max_batch, hparams.n_ff},
      {&logits_, std::min(max_batch, kLogitsRows), weights.n_vocab},
  };
  const auto floats = [](const Part& part) {
    const std::size_t n = static_cast<std::size_t>(part.rows) * static_cast<std::size_t>(part.cols);
    return (n + kAlignment - 1) / kAlignment * kAlignment;
  };
  std::size_t total = 0;
  for (const Part& part : parts) total += floats(part);
  memory_ = backend.allocate(total * sizeof(float));
  auto* next = reinterpret_cast<float*>(memory_->data());
  for (const Part& part : parts) {
    *part.view = {next, part.rows, part.cols};
    next += floats(part);
  }
}

void Decoder::forward(std::span<const TokenId> tokens, KvSequence& sequence,
                      std::size_t first_logits, std::span<float> logits) {
  const int n_tokens = static_cast<int>(tokens.size());
  LQ_ASSERT(n_tokens >= 1 && n_tokens <= max_batch_ && first_logits <= tokens.size());
  LQ_ASSERT(logits.size() == (tokens.size() - first_logits) * static_cast<std::size_t>(n_vocab()));
  backend_.embed(weights_.embedding, tokens, rows(x_, n_tokens));
  for (int i = 0; i < hparams_.n_layers; ++i) layer(i, n_tokens, sequence);
  head(static_cast<int>(first_logits), n_tokens, logits);
  sequence.advance(n_tokens);
}

/// Codes of 8 bits add less than what keys and values have from weights of fewer.
AttentionRounding Decoder::attention_rounding(const LayerWeights& w) const {
  if (weights_.exact()) return AttentionRounding::none;
  const auto is_coarse = [](const WeightView& weight) {
    return traits(weight.type).bits_per_value() < 8;
  };
  return is_coarse(w.key) && is_coarse(w.value) ? AttentionRounding::bytes
                                                : AttentionRounding::bfloat16;
}

void Decoder::layer(int index, int n_tokens, const KvSequence& sequence) {
  const LayerWeights& w = weights_.layers[static_cast<std::size_t>(index)];
  const ArchSpec& arch = *hparams_.arch;
  const bool rotated = arch.no_rope_every == 0 || (index + 1) % arch.no_rope_every != 0;
  const View x = rows(x_, n_tokens);
  const CacheView cache = sequence.view(index);
  backend_.qkv({.x = x,
                .norm = w.attention_norm,
                .eps = hparams_.rms_eps,
                .query = w.query,
                .key = w.key,
                .value = w.value,
                .query_bias = w.query_bias,
                .key_bias = w.key_bias,
                .value_bias = w.value_bias,
                .query_norm = w.query_norm,
                .key_norm = w.key_norm,
                .head_dim = hparams_.head_dim,
                .value_dim = hparams_.value_dim,
                .rope = {.n_rot = rotated ? hparams_.n_rot : 0,
                         .adjacent = arch.rope == RopeStyle::adjacent,
                         .base = hparams_.rope_base,
                         .scale = hparams_.rope_scale,
                         .frequency_divisors = weights_.rope_divisors},
                .first_position = sequence.length(),
                .cache = cache,
                .normed = rows(normed_, n_tokens),
                .q = rows(q_, n_tokens),
                .k = rows(k_, n_tokens),
                .v = rows(v_, n_tokens)});
  observe({&w.query, &w.key, &w.value}, rows(normed_, n_tokens));
  backend_.attention({.q = rows(q_, n_tokens),
                      .cache = cache,
                      .n_heads = hparams_.n_heads,
                      .n_kv_heads = hparams_.n_kv_heads,
                      .head_dim = hparams_.head_dim,
                      .value_dim = hparams_.value_dim,
                      .first_position = sequence.length(),
                      .scale = 1.0f / std::sqrt(static_cast<float>(hparams_.head_dim)),
                      .rounding = attention_rounding(w),
                      .out = rows(attended_, n_tokens)});
  observe({&w.output}, rows(attended_, n_tokens));
  backend_.project({.in = rows(attended_, n_tokens),
                    .weight = w.output,
                    .bias = w.output_bias,
                    .x = x,
                    .scratch = rows(projected_, n_tokens)});
  feed_forward(w, x);
}

void Decoder::feed_forward(const LayerWeights& w, View x) {
  const int n_tokens = x.rows;
  backend_.gated_up({.x = x,
                     .norm = w.ffn_norm,
                     .eps = hparams_.rms_eps,
                     .gate = w.gate,
                     .up = w.up,
                     .normed = rows(normed_, n_tokens),
                     .gate_out = rows(gate_, n_tokens),
                     .up_out = rows(up_, n_tokens)});
  observe({&w.gate, &w.up}, rows(normed_, n_tokens));
  observe({&w.down}, rows(gate_, n_tokens));
  backend_.project({.in = rows(gate_, n_tokens),
                    .weight = w.down,
                    .bias = nullptr,
                    .x = x,
                    .scratch = rows(projected_, n_tokens)});
}

void Decoder::observe(std::initializer_list<const WeightView*> weights, View input) {
  if (!observer_) return;
  backend_.synchronize();
  for (const WeightView* weight : weights) observer_->on_matmul(*weight, input, {});
}

void Decoder::head(int first, int n_tokens, std::span<float> logits) {
  const auto n_vocab = static_cast<std::size_t>(this->n_vocab());
  for (int row = first; row < n_tokens; row += logits_.rows) {
    const int n = std::min(logits_.rows, n_tokens - row);
    const std::size_t start = static_cast<std::size_t>(row) * static_cast<std::size_t>(x_.cols);
    backend_.head({.x = {x_.data + start, n, x_.cols},
                   .norm = weights_.output_norm,
                   .eps = hparams_.rms_eps,
                   .weight = weights_.head,
                   .normed = rows(normed_, n),
                   .logits = rows(logits_, n)});
    observe({&weights_.head}, rows(normed_, n));
    backend_.copy_out(
        reinterpret_cast<const std::byte*>(logits_.data),
        std::as_writable_bytes(logits.subspan(static_cast<std::size_t>(row - first) * n_vocab,
                                              static_cast<std::size_t>(n) * n_vocab)));
  }
  backend_.synchronize();
}

}  // namespace lq
