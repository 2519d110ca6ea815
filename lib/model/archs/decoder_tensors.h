#pragma once
// The tensors of the Llama decoder, shared by the families that only differ around them.
#include <algorithm>
#include <array>

#include "lib/model/arch_spec.h"

namespace lq::archs {

/// What every family has. With RopeStyle::adjacent the rows of queries and keys are brought into
/// that order.
template <RopeStyle style>
inline constexpr TensorRule kDecoderTensors[] = {
    {"model.embed_tokens.weight", "token_embd.weight", Dim::embd, Dim::vocab},
    {"model.norm.weight", "output_norm.weight", Dim::embd},
    {"lm_head.weight", "output.weight", Dim::embd, Dim::vocab, false},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", Dim::embd},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Dim::embd, Dim::query, true,
     style == RopeStyle::adjacent ? Transform::unsplit_query : Transform::none},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", Dim::query, Dim::none, false,
     style == RopeStyle::adjacent ? Transform::unsplit_query : Transform::none},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Dim::embd, Dim::key, true,
     style == RopeStyle::adjacent ? Transform::unsplit_key : Transform::none},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", Dim::key, Dim::none, false,
     style == RopeStyle::adjacent ? Transform::unsplit_key : Transform::none},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", Dim::embd, Dim::value},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", Dim::value, Dim::none, false},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", Dim::attention_out,
     Dim::embd},
    {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", Dim::embd, Dim::none,
     false},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", Dim::embd},
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", Dim::embd, Dim::ff},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", Dim::embd, Dim::ff},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", Dim::ff, Dim::embd},
};

/// Divisors of the rotation's frequencies, made by conversion.
inline constexpr TensorRule kRopeFactors[] = {
    {"", "rope_freqs.weight", Dim::rope_pairs, Dim::none, false}};

/// A norm on every query and key head.
inline constexpr TensorRule kHeadNorms[] = {
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", Dim::head},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", Dim::head}};

template <std::size_t n, std::size_t m>
consteval std::array<TensorRule, n + m> joined(const TensorRule (&a)[n], const TensorRule (&b)[m]) {
  std::array<TensorRule, n + m> all{};
  std::copy(std::begin(b), std::end(b), std::copy(std::begin(a), std::end(a), all.begin()));
  return all;
}

}  // namespace lq::archs
