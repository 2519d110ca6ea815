#pragma once
// A GGUF file as the Hugging Face folder that it was made from: the conversion backwards, by the
// same tables.
#include <memory>

#include "lib/jobs/hf_model.h"

namespace lq {

/// Names, shapes and rows of the tensors as the family's class has them, whatever they are stored
/// as; config.json, generation_config.json and the tokenizer's files from the metadata. What the
/// file does not say, or a folder cannot, is a warning. Throws Error(unsupported) for families and
/// settings that no class has, Error(input) for tensors that are missing or of the wrong shape.
HfModel restore_model(std::shared_ptr<const TensorSource> source, const HfModelOptions& options,
                      Monitor& monitor);

}  // namespace lq
