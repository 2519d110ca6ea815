// SmolLM3: the Llama decoder in which every fourth layer does without rotation.
#include "lib/model/archs/decoder_tensors.h"

namespace lq {
namespace {

constexpr HfClass kClasses[] = {
    {"SmolLM3ForCausalLM",
     "smollm3",
     {.n_kv_heads = 4, .context_length = 32768, .rope_theta = 2e6, .rms_eps = 1e-6}},
};
constexpr auto kTensors =
    archs::joined(archs::kDecoderTensors<RopeStyle::adjacent>, archs::kRopeFactors);
constexpr ExtraKey kExtraKeys[] = {ExtraKey::vocab_size, ExtraKey::rope_dimension_count};
constexpr VocabularySource kVocabulary[] = {
    VocabularySource::sentencepiece, VocabularySource::llama_hf, VocabularySource::byte_level};

}  // namespace

constinit const ArchSpec archs::smollm3 = {
    .gguf_name = "smollm3",
    .hf_classes = kClasses,
    .tensors = kTensors,
    .rope = RopeStyle::adjacent,
    .no_rope_every = 4,
    .extra_keys = kExtraKeys,
    .vocabulary = kVocabulary,
    .llama_vocabulary = true,
};

}  // namespace lq
