#include "lib/jobs/restore.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/matrix_factor.h"
#include "lib/jobs/restore_config.h"
#include "lib/jobs/restore_tokenizer.h"
#include "lib/model/arch_spec.h"
#include "lib/model/row_order.h"

namespace lq {
namespace {

constexpr std::string_view kEmbedding = "token_embd.weight", kHead = "output.weight",
                           kDivisors = "rope_freqs.weight";

bool is_vector(const TensorInfo& tensor) { return tensor.rows() == 1 && tensor.shape.size() <= 1; }
bool is_float(DType type) {
  return type == DType::F32 || type == DType::F16 || type == DType::BF16;
}

/// The type that more than half of the matrices' values have, F16 or F32; else BF16.
DType usual_type(const TensorSource& source) {
  std::map<DType, std::uint64_t> values;
  std::uint64_t total = 0;
  for (const TensorInfo& tensor : source.tensors()) {
    if (is_vector(tensor)) continue;
    values[tensor.type] += tensor.elements();
    total += tensor.elements();
  }
  for (const DType type : {DType::F16, DType::F32})
    if (values[type] > total / 2) return type;
  return DType::BF16;
}

/// "a, b and 3 more".
std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 5;
  std::string list;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i)
    list += (i ? ", " : "") + quote(names[i]);
  if (names.size() > kShown) list += " and " + std::to_string(names.size() - kShown) + " more";
  return list;
}

class TensorRestorer {
 public:
  TensorRestorer(const TensorSource& source, const HParams& hparams, const HfModelOptions& options,
                 Monitor& monitor)
      : source_(source), hparams_(hparams), arch_(*hparams.arch), monitor_(monitor) {
    facts_.type = options.type.value_or(usual_type(source));
    chosen_ = options.type.has_value();
    const auto embedding = source.find(kEmbedding);
    if (!embedding)
      fail(ErrorKind::input, source.name(), ": tensor ", quote(kEmbedding), " is missing");
    const auto rows = source.tensors()[*embedding].rows();
    constexpr std::uint64_t kMostTokens = 1 << 28;
    if (rows > kMostTokens)
      fail(ErrorKind::input, source.name(), ": ", kEmbedding, " has ", rows,
           " rows; expected at most ", kMostTokens);
    facts_.n_vocab = static_cast<int>(rows);
    facts_.tied = !source.find(kHead);
  }

  /// By name, as folders are read.
  std::vector<HfModel::Tensor> restore() {
    std::vector<std::string> unknown;
    for (std::size_t i = 0; i < source_.tensors().size(); ++i) {
      const std::string& name = source_.tensors()[i].name;
      if (is_matrix_factor(source_, name)) {
        n_input_factors_ += name.ends_with("input_scale");
        continue;
      }
      const auto match = match_gguf_name(arch_, name);
      if (!match.rule || match.layer >= hparams_.n_layers)
        unknown.push_back(name);
      else
        add(i, match);
    }
    if (!unknown.empty())
      fail(ErrorKind::unsupported, source_.name(), ": has tensors that ", arch_.gguf_name,
           " models with ", hparams_.n_layers, " layers do not have: ", listed(unknown));
    check_complete();
    find_bias();
    warn();
    std::sort(tensors_.begin(), tensors_.end(),
              [](const auto& a, const auto& b) { return a.made.output.name < b.made.output.name; });
    return std::move(tensors_);
  }

  const TensorFacts& facts() const { return facts_; }

 private:
  void add(std::size_t index, const RuleMatch& match) {
    const TensorInfo& tensor = source_.tensors()[index];
    const auto expected = rule_shape(*match.rule, hparams_, facts_.n_vocab);
    if (trimmed_shape(tensor.shape) != trimmed_shape(expected))
      fail(ErrorKind::input, source_.name(), ": tensor ", quote(tensor.name), " has shape ",
           shape_text(tensor.shape), "; expected ", shape_text(expected), " by the metadata");
    if (!traits(tensor.type).has_codec())
      fail(ErrorKind::unsupported, source_.name(), ": tensor ", quote(tensor.name),
           " is stored as ", traits(tensor.type).name, ", which cannot be decoded");
    present_.insert({match.rule, match.layer});
    if (tensor.name == kDivisors) {
      facts_.rope_divisors = values_of(index);
      return;
    }
    HfModel::Tensor made;
    made.made.output = {layer_name(match.rule->hf_name, match.layer), facts_.type, expected};
    if (expected.size() > 1)
      plan_matrix(index, match.rule->transform, made.made);
    else
      plan_vector(index, match.rule->transform, made.made);
    made.stored_as = traits(made.made.output.type).name;
    made.bytes = made.made.output.bytes();
    const auto files = source_.files();
    made.file = files.empty() ? source_.name() : files[source_.file_index(index)].string();
    tensors_.push_back(std::move(made));
  }

  /// Of heads whose rows change places.
  std::uint64_t head_dim() const {
    if (hparams_.head_dim % 2 != 0)
      fail(ErrorKind::input, source_.name(), ": heads have ", hparams_.head_dim,
           " dimensions; expected an even number");
    return static_cast<std::uint64_t>(hparams_.head_dim);
  }

  void plan_matrix(std::size_t index, Transform transform, PlannedTensor& made) {
    const DType stored = source_.tensors()[index].type;
    made.source = &source_;
    made.source_index = index;
    made.factor = factor_of_matrix(source_, source_.tensors()[index].name);
    if (transform != Transform::none)
      made.source_row = [d = head_dim()](std::uint64_t row) { return adjacent_row_of(row, d); };
    if (!is_float(stored)) quantized_.insert(traits(stored).name);
    const bool narrows =
        stored == DType::F32 || (stored == DType::F16 && facts_.type != DType::F32);
    if (is_float(stored) && stored != facts_.type && narrows) ++n_rounded_;
  }

  /// GGUF keeps vectors in F32. They get the model's type back where that loses nothing.
  void plan_vector(std::size_t index, Transform transform, PlannedTensor& made) {
    const auto stored = values_of(index);
    made.values = stored;
    if (transform != Transform::none)
      for (std::size_t i = 0; i < stored.size(); ++i)
        made.values[i] = stored[adjacent_row_of(i, head_dim())];
    if (is_exact(made.values)) return;
    made.output.type = DType::F32;
    inexact_.push_back(made.output.name);
  }

  bool is_exact(std::span<const float> values) const {
    std::vector<std::byte> encoded(values.size() * traits(facts_.type).bytes);
    std::vector<float> back(values.size());
    traits(facts_.type).encode(values.data(), nullptr, encoded.data(), values.size());
    traits(facts_.type).decode(encoded.data(), back.data(), values.size());
    return std::equal(values.begin(), values.end(), back.begin());
  }

  std::vector<float> values_of(std::size_t index) const {
    const TensorInfo& tensor = source_.tensors()[index];
    std::vector<std::byte> bytes(tensor.bytes());
    source_.read(index, 0, bytes);
    std::vector<float> values(tensor.elements());
    choose_cpu_kernels().decode[index_of(tensor.type)](bytes.data(), values.data(), values.size());
    for (std::size_t i = 0; i < values.size(); ++i)
      if (!std::isfinite(values[i]))
        fail(ErrorKind::input, source_.name(), ": tensor ", quote(tensor.name), ": element ", i,
             " is ", values[i], "; weights have to be finite");
    return values;
  }

  void check_complete() const {
    for (const TensorRule& rule : arch_.tensors) {
      if (!rule.required) continue;
      const bool layered = rule.gguf_name.find("{}") != std::string_view::npos;
      for (int layer = layered ? 0 : -1; layer < (layered ? hparams_.n_layers : 0); ++layer)
        if (!present_.contains({&rule, layer}))
          fail(ErrorKind::input, source_.name(), ": tensor ",
               quote(layer_name(rule.gguf_name, layer)), " is missing");
    }
  }

  /// Classes have one setting for the biases of attention: all are there, or none.
  void find_bias() {
    std::vector<std::string> missing;
    for (const TensorRule& rule : arch_.tensors) {
      if (!rule.hf_name.ends_with(".bias")) continue;
      for (int layer = 0; layer < hparams_.n_layers; ++layer)
        if (present_.contains({&rule, layer}))
          facts_.attention_bias = true;
        else
          missing.push_back(layer_name(rule.gguf_name, layer));
    }
    if (facts_.attention_bias && !missing.empty())
      fail(ErrorKind::unsupported, source_.name(), ": has some biases, but not ", listed(missing),
           "; the classes of ", arch_.gguf_name, " models have all of them or none");
  }

  void warn() const {
    const std::string type = traits(facts_.type).name;
    std::string names;
    for (const auto& name : quantized_) names += (names.empty() ? "" : ", ") + name;
    if (!names.empty())
      monitor_.warning(source_.name() + ": its weights were quantized before (" + names +
                       "); what that lost does not come back");
    if (n_rounded_ > 0 && !chosen_)
      monitor_.warning(source_.name() + ": " + std::to_string(n_rounded_) +
                       " matrices are stored in another float type and rounded to " + type);
    if (n_input_factors_ > 0)
      monitor_.warning(source_.name() + ": scales of activations (" +
                       std::to_string(n_input_factors_) +
                       " tensors) are left out: folders whose weights are floats have none");
    if (!inexact_.empty())
      monitor_.warning(source_.name() + ": " + type + " cannot hold all values of " +
                       listed(inexact_) + ": kept in F32");
  }

  const TensorSource& source_;
  const HParams& hparams_;
  const ArchSpec& arch_;
  Monitor& monitor_;
  TensorFacts facts_;
  bool chosen_ = false;  ///< the type was asked for
  std::vector<HfModel::Tensor> tensors_;
  std::set<std::pair<const TensorRule*, int>> present_;
  std::set<std::string> quantized_;
  std::size_t n_rounded_ = 0, n_input_factors_ = 0;
  std::vector<std::string> inexact_;
};

}  // namespace

HfModel restore_model(std::shared_ptr<const TensorSource> source, const HfModelOptions& options,
                      Monitor& monitor) {
  if (source->tensors().empty())
    fail(ErrorKind::input, source->name(),
         ": holds no tensors, only a vocabulary; expected a model with weights");
  const HParams hparams = HParams::parse(source->metadata());
  TensorRestorer restorer(*source, hparams, options, monitor);
  HfModel model;
  model.name = source->name();
  model.tensors = restorer.restore();
  const Metadata& metadata = source->metadata();
  model.config = restored_config(metadata, hparams, restorer.facts(), monitor);
  if (auto file = restored_generation_config(metadata)) model.made_files.push_back(*file);
  if (auto file = restored_card(metadata)) model.made_files.push_back(*file);
  for (auto& file : restored_tokenizer(metadata, *hparams.arch, restorer.facts().n_vocab, monitor))
    model.made_files.push_back(std::move(file));
  model.source = std::move(source);
  return model;
}

}  // namespace lq
