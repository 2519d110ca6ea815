// Qwen3: the Llama decoder with a norm on every query and key head; pairs are split halves.
#include "lib/model/arch_spec.h"

namespace lq {
namespace {

constexpr HfClass kClasses[] = {
    {"Qwen3ForCausalLM",
     "qwen3",
     {.head_dim = 128,
      .n_kv_heads = 32,
      .context_length = 32768,
      .rope_theta = 1e4,
      .rms_eps = 1e-6}},
};
constexpr VocabularySource kVocabulary[] = {VocabularySource::sentencepiece,
                                            VocabularySource::byte_level};

constexpr TensorRule kTensors[] = {
    {"model.embed_tokens.weight", "token_embd.weight", Dim::embd, Dim::vocab},
    {"model.norm.weight", "output_norm.weight", Dim::embd},
    {"lm_head.weight", "output.weight", Dim::embd, Dim::vocab, false},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", Dim::embd},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Dim::embd, Dim::query},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", Dim::query, Dim::none, false},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", Dim::head},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Dim::embd, Dim::key},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", Dim::key, Dim::none, false},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", Dim::head},
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

}  // namespace

constinit const ArchSpec archs::qwen3 = {
    .gguf_name = "qwen3",
    .hf_classes = kClasses,
    .tensors = kTensors,
    .rope = RopeStyle::split_halves,
    .vocabulary = kVocabulary,
};

}  // namespace lq
