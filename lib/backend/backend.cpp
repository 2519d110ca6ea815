#include "lib/backend/backend.h"

#include <string>

#include "lib/base/error.h"

namespace lq {

std::unique_ptr<Buffer> Backend::repack(WeightView&, const RowMaker*) { return nullptr; }

void Backend::qkv(const QkvStage& s) {
  rms_norm(s.x, s.norm, s.eps, s.x.cols, s.normed);
  matmul(s.query, s.normed, s.q);
  matmul(s.key, s.normed, s.k);
  matmul(s.value, s.normed, s.v);
  if (s.query_bias) add_bias(s.query_bias, s.q);
  if (s.key_bias) add_bias(s.key_bias, s.k);
  if (s.value_bias) add_bias(s.value_bias, s.v);
  if (s.query_norm) rms_norm(s.q, s.query_norm, s.eps, s.head_dim, s.q);
  if (s.key_norm) rms_norm(s.k, s.key_norm, s.eps, s.head_dim, s.k);
  rope(s.q, s.head_dim, s.rope, s.first_position);
  rope(s.k, s.head_dim, s.rope, s.first_position);
  kv_append(s.k, s.v, s.key.rows / s.head_dim, s.first_position, s.cache);
}

void Backend::project(const ProjectStage& s) {
  matmul(s.weight, s.in, s.scratch);
  if (s.bias) add_bias(s.bias, s.scratch);
  add(s.scratch, s.x);
}

void Backend::gated_up(const GatedUpStage& s) {
  rms_norm(s.x, s.norm, s.eps, s.x.cols, s.normed);
  matmul(s.gate, s.normed, s.gate_out);
  matmul(s.up, s.normed, s.up_out);
  silu_multiply(s.gate_out, s.up_out, s.gate_out);
}

void Backend::head(const HeadStage& s) {
  rms_norm(s.x, s.norm, s.eps, s.x.cols, s.normed);
  matmul(s.weight, s.normed, s.logits);
}

std::span<const DType> cache_types() {
  static constexpr DType kTypes[] = {
#define LQ_CACHE_TYPE(type) DType::type,
#include "kernels/blocks/cache_types.def"
#undef LQ_CACHE_TYPE
  };
  return kTypes;
}

std::string cache_type_name(DType type) {
  std::string name = traits(type).name;
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return name;
}

std::unique_ptr<Backend> make_backend(std::string_view name, int threads) {
  std::string known;
#define LQ_BACKEND(row_name, make)      \
  if (name == row_name) return make;    \
  known += (known.empty() ? "" : ", "); \
  known += row_name;
#include "lib/backend/backends.def"
#undef LQ_BACKEND
  fail(ErrorKind::usage, "unknown device '", name, "'; devices are: ", known);
}

}  // namespace lq
