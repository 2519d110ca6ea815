// Qwen3: the Llama decoder with a norm on every query and key head; pairs are split halves.
#include "lib/model/archs/decoder_tensors.h"

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

constexpr auto kTensors =
    archs::joined(archs::kDecoderTensors<RopeStyle::split_halves>, archs::kHeadNorms);

}  // namespace

constinit const ArchSpec archs::qwen3 = {
    .gguf_name = "qwen3",
    .hf_classes = kClasses,
    .tensors = kTensors,
    .rope = RopeStyle::split_halves,
    .vocabulary = kVocabulary,
};

}  // namespace lq
