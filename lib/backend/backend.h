#pragma once
// The arithmetic of a decoder on one device.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kernels/blocks/activation_scheme.h"
#include "kernels/blocks/dtype.h"

namespace lq {

/// Memory of one device; freed on destruction.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual std::byte* data() = 0;  ///< an address in the device's memory
  virtual std::size_t size() const = 0;
};

/// A weight where the backend can read it: [rows][cols] blocks of `type`, rows contiguous, or what
/// the backend made of them.
struct WeightView {
  DType type = DType::F32;
  const std::byte* data = nullptr;
  int rows = 0, cols = 0;
  bool in_panels = false;         ///< as Backend::repack returned it: for products only
  ActivationRounding input = {};  ///< what is multiplied with it is rounded so first
  float factor = 1;               ///< products and embedded rows are multiplied with it
  explicit operator bool() const { return data != nullptr; }
};

/// Activations in the backend's memory: [rows][cols], rows contiguous.
struct View {
  float* data = nullptr;
  int rows = 0, cols = 0;
};

/// The cache of one layer of one sequence, in pages.
struct CacheView {
  void* keys = nullptr;    ///< pool of rows: [pages][n_kv_heads][page_tokens], head_dim values
  void* values = nullptr;  ///< likewise, value_dim values
  std::span<const std::int32_t> pages;  ///< of the sequence, in order
  int page_tokens = 0;
  DType type = DType::F16;  ///< of keys and values: one of cache_types()
};

/// The types that a cache of keys and values may have, the default first. Heads are whole blocks of
/// the type.
std::span<const DType> cache_types();
/// As it is written on the command line and in reports, e.g. "f16".
std::string cache_type_name(DType type);

struct RopeArgs {
  int n_rot = 0;          ///< 0: no rotation
  bool adjacent = false;  ///< pairs (2i, 2i+1), else (i, i + n_rot/2)
  float base = 10000, scale = 1;
  const float* frequency_divisors = nullptr;  ///< [n_rot / 2], or null: divide by one
};

/// Normalise, project to queries, keys and values, normalise and rotate heads, append to the cache.
struct QkvStage {
  View x;                       ///< [tokens][n_embd] residual stream
  const float* norm = nullptr;  ///< [n_embd]
  float eps = 0;
  WeightView query, key, value;       ///< [heads * head_dim][n_embd], ...
  const float* query_bias = nullptr;  ///< null: none; likewise below
  const float* key_bias = nullptr;
  const float* value_bias = nullptr;
  const float* query_norm = nullptr;  ///< [head_dim]
  const float* key_norm = nullptr;
  int head_dim = 0, value_dim = 0;
  RopeArgs rope;
  int first_position = 0;  ///< of x's first row
  CacheView cache;
  View normed, q, k, v;  ///< scratch; q is the result, normed keeps norm(x)
};

/// What a backend may round queries, keys, values and weights of attention to: of many queries,
/// where that is faster.
enum class AttentionRounding { none, bfloat16, bytes };

struct AttentionStage {
  View q;  ///< [tokens][n_heads * head_dim]
  CacheView cache;
  int n_heads = 0, n_kv_heads = 0, head_dim = 0, value_dim = 0;
  int first_position = 0;
  float scale = 0;
  AttentionRounding rounding = AttentionRounding::bfloat16;
  View out;  ///< [tokens][n_heads * value_dim]
};

/// x += W * in (+ bias).
struct ProjectStage {
  View in;
  WeightView weight;
  const float* bias = nullptr;
  View x;        ///< residual stream
  View scratch;  ///< [tokens][n_embd]
};

/// gated = silu(W_gate norm(x)) * (W_up norm(x)).
struct GatedUpStage {
  View x;
  const float* norm = nullptr;
  float eps = 0;
  WeightView gate, up;
  View normed, gate_out, up_out;  ///< scratch; gate_out is the result, normed keeps norm(x)
};

/// logits = W norm(x).
struct HeadStage {
  View x;
  const float* norm = nullptr;
  float eps = 0;
  WeightView weight;
  View normed, logits;  ///< normed keeps norm(x)
};

/// Rows of a stored weight, made when they are wanted.
struct RowMaker {
  /// Writes rows [first, first + n). `first` is a multiple of `together`, and so is n but for the
  /// last rows. Called from several threads.
  std::function<void(int first, int n, std::byte* into)> make;
  int together = 1;
};

/// Operations are what a new backend must have; stages are what the decoder calls. The base class
/// composes each stage of operations; a backend may override a stage with a fused pass. Calls may
/// return before the work is done; results are there after synchronize(). Shapes are checked by
/// Decoder when it is built, so nothing here fails on valid models. Not thread-safe: one thread
/// drives one Backend.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;             ///< "cpu", "cuda"
  virtual std::string_view instruction_set() const = 0;  ///< the kernel set in use

  virtual std::unique_ptr<Buffer> allocate(std::size_t n_bytes) = 0;  ///< zeroed; Error(resource)
  /// True when weights can be used where the file is mapped.
  virtual bool reads_host_memory() const = 0;
  /// Makes the form of a weight that products are fastest with: points `weight` to it and returns
  /// its memory, whole and apart from what was stored. Null: as stored is best. With `rows` the
  /// weight has no data yet. Throws Error(resource), and what making rows throws.
  virtual std::unique_ptr<Buffer> repack(WeightView& weight, const RowMaker* rows = nullptr);
  virtual void copy_in(std::span<const std::byte> host, std::byte* device) = 0;
  virtual void copy_out(const std::byte* device, std::span<std::byte> host) = 0;
  virtual void synchronize() = 0;

  /// y[t] = row tokens[t] of `table`, decoded.
  virtual void embed(const WeightView& table, std::span<const std::int32_t> tokens, View y) = 0;
  /// y[t] = W x[t] for every row t of x, rounded as W wants it.
  virtual void matmul(const WeightView& w, View x, View y) = 0;
  /// y[t] = x[t] / rms(x[t]) * weight, over groups of `group` values (a row, or a head). May be in
  /// place.
  virtual void rms_norm(View x, const float* weight, float eps, int group, View y) = 0;
  /// x[t] += bias.
  virtual void add_bias(const float* bias, View x) = 0;
  /// Rotates the heads of x in place; row t stands at first_position + t.
  virtual void rope(View x, int head_dim, const RopeArgs& args, int first_position) = 0;
  /// Stores the rows of k and v, n_kv_heads heads each, at first_position, first_position + 1, ...
  virtual void kv_append(View k, View v, int n_kv_heads, int first_position,
                         const CacheView& cache) = 0;
  /// Causal attention of every query row over the cache.
  virtual void attention(const AttentionStage& stage) = 0;
  /// y = silu(gate) * up; y may be gate.
  virtual void silu_multiply(View gate, View up, View y) = 0;
  /// y += x.
  virtual void add(View x, View y) = 0;

  virtual void qkv(const QkvStage& stage);
  virtual void project(const ProjectStage& stage);
  virtual void gated_up(const GatedUpStage& stage);
  virtual void head(const HeadStage& stage);
};

/// `isa` empty: $LQ_CPU_ISA, or the best. Throws Error(usage) with the list of sets for an unknown
/// or unsupported one.
std::unique_ptr<Backend> make_cpu_backend(int threads, std::string_view isa = {});
/// Throws Error(unsupported) that says what is missing where there is no CUDA.
std::unique_ptr<Backend> make_cuda_backend();
/// By the name of a row of backends.def.
std::unique_ptr<Backend> make_backend(std::string_view name, int threads);

}  // namespace lq
