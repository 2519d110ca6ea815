#pragma once
// A model that is ready to run: file, numbers, tokenizer, weights.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "lib/backend/backend.h"
#include "lib/format/tensor_source.h"
#include "lib/infer/weights.h"
#include "lib/model/hparams.h"
#include "lib/text/tokenizer.h"

namespace lq {

class Model {
 public:
  /// Loads `source`, whose metadata are GGUF's, for running on `backend`, which outlives the model.
  /// Throws Error.
  Model(std::unique_ptr<TensorSource> source, Backend& backend, const LoadOptions& options = {});
  /// The model file `path`.
  Model(const std::filesystem::path& path, Backend& backend, const LoadOptions& options = {});

  const TensorSource& source() const { return *source_; }
  const HParams& hparams() const { return hparams_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const Weights& weights() const { return *weights_; }
  Backend& backend() const { return backend_; }
  /// "Q4_K - Medium"-like names are other tools' business: the type that most of the weight's bytes
  /// have.
  std::string weight_type() const;
  std::optional<std::string> chat_template() const;

 private:
  Backend& backend_;
  std::unique_ptr<TensorSource> source_;
  HParams hparams_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace lq
