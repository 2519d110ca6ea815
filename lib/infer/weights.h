#pragma once
// A model's tensors where the decoder will use them.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/base/monitor.h"
#include "lib/format/tensor_source.h"
#include "lib/model/arch_spec.h"

namespace lq {

/// One layer. Optional parts are null.
struct LayerWeights {
  const float* attention_norm = nullptr;
  WeightView query, key, value, output;
  const float *query_bias = nullptr, *key_bias = nullptr, *value_bias = nullptr,
              *output_bias = nullptr;
  const float *query_norm = nullptr, *key_norm = nullptr;
  const float* ffn_norm = nullptr;
  WeightView gate, up, down;
};

struct LoadOptions {
  /// Matrices go through Backend::repack, one by one, and what was read of the file for it is given
  /// back. Off: products are those of the stored values, in binary32.
  bool repack = true;
  /// What matrices are multiplied with is rounded as the checkpoint says
  /// (TensorSource::activations).
  bool round_inputs = true;
  Monitor* monitor = nullptr;  ///< hears about progress and can stop it; null: nobody
};

/// Matrices are repacked, or used where the file is mapped when the backend can read them there, or
/// copied; the embedding, of which rows are wanted, is not repacked. Vectors are decoded to
/// binary32 in the backend's memory. `source` outlives this.
class Weights {
 public:
  /// Checks that every tensor is one of the family's, has the shape that HParams demands and a type
  /// with a codec, and that none is missing. Throws Error(input | unsupported | resource) that
  /// names the tensor.
  Weights(const TensorSource& source, const HParams& hparams, Backend& backend,
          const LoadOptions& options = {});

  WeightView embedding;
  WeightView head;  ///< the embedding when the model ties them
  const float* output_norm = nullptr;
  const float* rope_divisors = nullptr;  ///< [n_rot / 2] or null
  std::vector<LayerWeights> layers;
  int n_vocab = 0;

  /// Name of the tensor that is `weight`; empty when it is none of this model's.
  std::string_view name_of(const WeightView& weight) const;
  /// What is unlike the checkpoint says, a line each; the monitor heard it, too.
  const std::vector<std::string>& warnings() const { return warnings_; }
  std::uint64_t bytes() const { return bytes_; }            ///< of all stored tensors
  std::uint64_t parameters() const { return parameters_; }  ///< values in all stored tensors
  /// Stored bytes that generating one token reads: all matrices but the embedding, whose row alone
  /// is needed, unless it is the head too.
  std::uint64_t bytes_per_token() const { return bytes_per_token_; }
  /// Products are those of the stored values, in binary32: LoadOptions::repack was off.
  bool exact() const { return exact_; }

 private:
  class Loader;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::map<const std::byte*, std::string> names_;  ///< of matrices, by where they are
  std::vector<std::string> warnings_;
  std::uint64_t bytes_ = 0, parameters_ = 0, bytes_per_token_ = 0;
  bool exact_;
};

}  // namespace lq
