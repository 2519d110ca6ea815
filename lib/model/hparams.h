#pragma once
// The numbers of a model, parsed from its metadata and range-checked once.
#include <cstdint>
#include <string>
#include <vector>

#include "lib/format/metadata.h"

namespace lq {

struct ArchSpec;

/// Everything that the forward pass needs to know besides the tensors. All values are in a range in
/// which products of two of them fit in 63 bits.
struct HParams {
  const ArchSpec* arch = nullptr;
  int n_layers = 0;
  int n_embd = 0;
  int n_ff = 0;
  int n_heads = 0;
  int n_kv_heads = 0;  ///< divides n_heads
  int head_dim = 0;    ///< of keys and queries
  int value_dim = 0;   ///< of values, a head
  int n_rot = 0;       ///< leading dimensions of a head that are rotated; even
  int n_vocab = 0;     ///< rows of the embedding; 0 when the metadata does not say
  int n_ctx_train = 0;
  float rms_eps = 0;
  float rope_base = 10000;
  float rope_scale = 1;  ///< positions are multiplied by it (linear scaling: 1 / factor)

  /// Throws Error(input) that names file and key, or Error(unsupported) for an unknown architecture
  /// (with the list of what is supported) or a scaling method that is not built in.
  static HParams parse(const Metadata& metadata);
};

}  // namespace lq
