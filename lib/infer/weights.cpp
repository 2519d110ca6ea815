#include "lib/infer/weights.h"

#include <cstring>
#include <limits>
#include <set>

#include "lib/base/error.h"
#include "lib/format/matrix_factor.h"

namespace lq {
namespace {

/// Where the tensor that a rule names goes, relative to a layer or to the whole.
struct LayerSlot {
  std::string_view name;
  WeightView LayerWeights::*matrix;
  const float* LayerWeights::*vector;
};

constexpr std::string_view kEmbedding = "token_embd.weight";

constexpr LayerSlot kLayerSlots[] = {
    {"blk.{}.attn_norm.weight", nullptr, &LayerWeights::attention_norm},
    {"blk.{}.attn_q.weight", &LayerWeights::query, nullptr},
    {"blk.{}.attn_k.weight", &LayerWeights::key, nullptr},
    {"blk.{}.attn_v.weight", &LayerWeights::value, nullptr},
    {"blk.{}.attn_output.weight", &LayerWeights::output, nullptr},
    {"blk.{}.attn_q.bias", nullptr, &LayerWeights::query_bias},
    {"blk.{}.attn_k.bias", nullptr, &LayerWeights::key_bias},
    {"blk.{}.attn_v.bias", nullptr, &LayerWeights::value_bias},
    {"blk.{}.attn_output.bias", nullptr, &LayerWeights::output_bias},
    {"blk.{}.attn_q_norm.weight", nullptr, &LayerWeights::query_norm},
    {"blk.{}.attn_k_norm.weight", nullptr, &LayerWeights::key_norm},
    {"blk.{}.ffn_norm.weight", nullptr, &LayerWeights::ffn_norm},
    {"blk.{}.ffn_gate.weight", &LayerWeights::gate, nullptr},
    {"blk.{}.ffn_up.weight", &LayerWeights::up, nullptr},
    {"blk.{}.ffn_down.weight", &LayerWeights::down, nullptr},
};

struct GlobalSlot {
  std::string_view name;
  WeightView Weights::*matrix;
  const float* Weights::*vector;
};

constexpr GlobalSlot kGlobalSlots[] = {
    {kEmbedding, &Weights::embedding, nullptr},
    {"output.weight", &Weights::head, nullptr},
    {"output_norm.weight", nullptr, &Weights::output_norm},
    {"rope_freqs.weight", nullptr, &Weights::rope_divisors},
};

}  // namespace

/// Puts tensors into the slots of a Weights.
class Weights::Loader {
 public:
  Loader(Weights& weights, const TensorSource& source, const HParams& hparams, Backend& backend,
         const LoadOptions& options)
      : weights_(weights),
        source_(source),
        hparams_(hparams),
        backend_(backend),
        repack_(options.repack),
        round_inputs_(options.round_inputs),
        monitor_(options.monitor ? *options.monitor : nobody_) {}

  void load() {
    const auto embedding_index = source_.find(kEmbedding);
    if (!embedding_index)
      fail(ErrorKind::input, source_.name(),
           ": tensor token_embd.weight is missing; is this a whole model?");
    const std::uint64_t n_rows = source_.tensors()[*embedding_index].rows();
    if (n_rows == 0 || n_rows > std::numeric_limits<std::int32_t>::max() / 4)
      fail(ErrorKind::input, source_.name(), ": token_embd.weight has ", n_rows,
           " rows; expected one for each token");
    weights_.n_vocab = static_cast<int>(n_rows);
    weights_.layers.resize(static_cast<std::size_t>(hparams_.n_layers));
    std::uint64_t bytes = 0;
    for (const TensorInfo& info : source_.tensors()) bytes += info.bytes();
    monitor_.begin("loading", bytes, Unit::bytes);
    for (std::size_t i = 0; i < source_.tensors().size(); ++i) {
      monitor_.check_stop();
      place(i);
      monitor_.advance(source_.tensors()[i].bytes());
    }
    monitor_.end();
    check_complete();
    if (round_inputs_) warn_of_roundings();
    const bool tied = !weights_.head;
    if (tied) weights_.head = repacked(weights_.embedding, *embedding_index);
    count(tied);
  }

 private:
  void place(std::size_t index) {
    const TensorInfo& info = source_.tensors()[index];
    if (is_matrix_factor(source_, info.name)) return;
    const RuleMatch match = match_gguf_name(*hparams_.arch, info.name);
    if (!match.rule || match.layer >= hparams_.n_layers)
      fail(ErrorKind::unsupported, source_.name(), ": tensor ", info.name,
           " is not a part of architecture ", hparams_.arch->gguf_name, " with ", hparams_.n_layers,
           " layers");
    const auto wanted = rule_shape(*match.rule, hparams_, weights_.n_vocab);
    if (info.shape != wanted)
      fail(ErrorKind::input, source_.name(), ": tensor ", info.name, " has shape ",
           shape_text(info.shape), "; the metadata demands ", shape_text(wanted));
    if (!traits(info.type).has_codec()) {
      std::string supported;
      for_each_dtype([&](DType, const DTypeTraits& t) { supported += std::string(" ") + t.name; });
      fail(ErrorKind::unsupported, source_.name(), ": tensor ", info.name, " has type ",
           traits(info.type).name, "; supported are", supported);
    }
    if (match.layer >= 0)
      place_in(kLayerSlots, weights_.layers[static_cast<std::size_t>(match.layer)], *match.rule,
               index);
    else
      place_in(kGlobalSlots, weights_, *match.rule, index);
    present_.insert(info.name);
  }

  template <class Slots, class Target>
  void place_in(const Slots& slots, Target& target, const TensorRule& rule, std::size_t index) {
    for (const auto& slot : slots)
      if (slot.name == rule.gguf_name) {
        if (slot.matrix)
          target.*slot.matrix = matrix(index, rule.gguf_name != kEmbedding);
        else
          target.*slot.vector = vector(index);
        return;
      }
    LQ_ASSERT(false);  // a family names a tensor that has no slot here
  }

  void warn_of_roundings() {
    for (const std::string& rounding : source_.unknown_roundings()) {
      weights_.warnings_.push_back(source_.name() + ": activations are not rounded as the " +
                                   "checkpoint wants it (" + rounding +
                                   "), which is not supported: they are used as they are");
      monitor_.warning(weights_.warnings_.back());
    }
  }

  /// `products`: the matrix is multiplied with, nothing else.
  WeightView matrix(std::size_t index, bool products) {
    const TensorInfo& info = source_.tensors()[index];
    WeightView weight{.type = info.type,
                      .rows = static_cast<int>(info.rows()),
                      .cols = static_cast<int>(info.row_length()),
                      .input = round_inputs_ ? source_.activations(index) : ActivationRounding{},
                      .factor = factor_of_matrix(source_, info.name)};
    if (const auto together = source_.rows_made(index); together > 0 && products && repack_) {
      const std::uint64_t row_bytes = info.row_bytes();
      const RowMaker rows{[&](int first, int n, std::byte* into) {
                            source_.read(index, static_cast<std::uint64_t>(first) * row_bytes,
                                         {into, static_cast<std::uint64_t>(n) * row_bytes});
                          },
                          static_cast<int>(together)};
      if (auto memory = backend_.repack(weight, &rows))
        return in_panels(weight, std::move(memory), index);
    }
    const std::span<const std::byte> stored = source_.data(index);
    weight.data = stored.data();
    if (!backend_.reads_host_memory()) {
      buffers().push_back(backend_.allocate(stored.size()));
      backend_.copy_in(stored, buffers().back()->data());
      weight.data = buffers().back()->data();
    }
    weights_.names_.emplace(weight.data, info.name);
    return products ? repacked(weight, index) : weight;
  }

  WeightView repacked(WeightView weight, std::size_t index) {
    auto memory = repack_ ? backend_.repack(weight) : nullptr;
    return memory ? in_panels(weight, std::move(memory), index) : weight;
  }

  WeightView in_panels(const WeightView& weight, std::unique_ptr<Buffer> memory,
                       std::size_t index) {
    weights_.names_.emplace(weight.data, source_.tensors()[index].name);
    buffers().push_back(std::move(memory));
    source_.release(index);
    return weight;
  }

  const float* vector(std::size_t index) {
    const TensorInfo& info = source_.tensors()[index];
    std::vector<float> values(info.elements());
    traits(info.type).decode(source_.data(index).data(), values.data(), values.size());
    buffers().push_back(backend_.allocate(values.size() * sizeof(float)));
    backend_.copy_in(std::as_bytes(std::span(values)), buffers().back()->data());
    return reinterpret_cast<const float*>(buffers().back()->data());
  }

  std::vector<std::unique_ptr<Buffer>>& buffers() { return weights_.buffers_; }

  void check_complete() const {
    for (const TensorRule& rule : hparams_.arch->tensors) {
      if (!rule.required || rule.gguf_name.empty()) continue;
      const bool layered = rule.gguf_name.find("{}") != std::string_view::npos;
      for (int layer = 0; layer < (layered ? hparams_.n_layers : 1); ++layer)
        if (const std::string name = layer_name(rule.gguf_name, layer); !present_.count(name))
          fail(ErrorKind::input, source_.name(), ": tensor ", name, " is missing");
    }
  }

  void count(bool tied) {
    for (const TensorInfo& info : source_.tensors()) {
      weights_.bytes_ += info.bytes();
      weights_.parameters_ += info.elements();
      const bool row_only = info.name == kEmbedding && !tied;
      weights_.bytes_per_token_ += row_only ? info.row_bytes() : info.bytes();
    }
  }

  Weights& weights_;
  const TensorSource& source_;
  const HParams& hparams_;
  Backend& backend_;
  bool repack_, round_inputs_;
  Monitor nobody_;
  Monitor& monitor_;
  std::set<std::string> present_;
};

Weights::Weights(const TensorSource& source, const HParams& hparams, Backend& backend,
                 const LoadOptions& options)
    : exact_(!options.repack) {
  Loader(*this, source, hparams, backend, options).load();
}

std::string_view Weights::name_of(const WeightView& weight) const {
  const auto at = names_.find(weight.data);
  return at == names_.end() ? std::string_view() : std::string_view(at->second);
}

}  // namespace lq
