// Llama 1 to 3 and Mistral: RMS norm, rotary attention with grouped keys, gated feed-forward.
#include "lib/model/archs/decoder_tensors.h"

namespace lq {
namespace {

constexpr HfClass kClasses[] = {
    {"LlamaForCausalLM",
     "llama",
     {.derive_head_dim = true, .context_length = 2048, .rope_theta = 1e4, .rms_eps = 1e-6}},
    {"MistralForCausalLM",
     "mistral",
     {.n_kv_heads = 8, .context_length = 131072, .rope_theta = 1e4, .rms_eps = 1e-6}},
};
constexpr auto kTensors =
    archs::joined(archs::kDecoderTensors<RopeStyle::adjacent>, archs::kRopeFactors);
constexpr ExtraKey kExtraKeys[] = {ExtraKey::vocab_size, ExtraKey::rope_dimension_count};
constexpr VocabularySource kVocabulary[] = {
    VocabularySource::sentencepiece, VocabularySource::llama_hf, VocabularySource::byte_level};

}  // namespace

constinit const ArchSpec archs::llama = {
    .gguf_name = "llama",
    .hf_classes = kClasses,
    .tensors = kTensors,
    .rope = RopeStyle::adjacent,
    .extra_keys = kExtraKeys,
    .vocabulary = kVocabulary,
    .llama_vocabulary = true,
};

}  // namespace lq
