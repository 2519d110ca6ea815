#pragma once
// GGUF files of the test data's checkpoints, and their logits.
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/infer/decoder.h"
#include "lib/infer/model.h"
#include "tests/support/temp_dir.h"

namespace lq::test {

/// Converts testdata's checkpoint `name` and returns the file, DIR/NAME-TYPE.gguf.
std::filesystem::path convert_checkpoint(const TempDir& dir, const std::string& name, DType type);
/// Quantizes a GGUF file to a recipe or type; `pure`: every matrix the same type.
std::filesystem::path quantize_model(const std::filesystem::path& model, const std::string& type,
                                     bool pure);

/// A checkpoint as a model that is ready to run.
class LoadedModel {
 public:
  /// testdata's checkpoint `name`, stored as `type`. `isa`: see make_cpu_backend().
  LoadedModel(const std::string& name, DType type, int threads = 1, std::string_view isa = {});
  const Model& operator*() const { return *model_; }
  const Model* operator->() const { return model_.get(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  TempDir dir_;
  std::filesystem::path path_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

/// Logits after each of `tokens`, [tokens][n_vocab], run in steps of `batch`.
std::vector<float> all_logits(const Weights& weights, const HParams& hparams, Backend& backend,
                              std::span<const TokenId> tokens, int batch,
                              DType kv_type = DType::F32);
inline std::vector<float> all_logits(const Model& model, std::span<const TokenId> tokens, int batch,
                                     DType kv_type = DType::F32) {
  return all_logits(model.weights(), model.hparams(), model.backend(), tokens, batch, kv_type);
}

}  // namespace lq::test
