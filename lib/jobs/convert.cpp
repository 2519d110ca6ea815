#include "lib/jobs/convert.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_layout.h"
#include "lib/format/hf_directory.h"
#include "lib/jobs/convert_config.h"
#include "lib/jobs/convert_folder.h"
#include "lib/jobs/convert_general.h"
#include "lib/jobs/convert_vocabulary.h"
#include "lib/jobs/quantized_folder.h"
#include "lib/model/row_order.h"

namespace lq {
namespace {

constexpr OutputType kOutputTypes[] = {
    {DType::F32, 0}, {DType::F16, 1}, {DType::BF16, 32}, {DType::Q8_0, 7}};

std::uint32_t file_type_of(DType type) {
  for (const auto& row : kOutputTypes)
    if (row.type == type) return row.file_type;
  fail(ErrorKind::usage, "cannot convert to ", traits(type).name, "; quantize the result instead");
}

/// What general.file_type and names of files say of a file.
struct FileKind {
  std::uint32_t file_type;
  std::string name;
};

/// Matrices that the checkpoint has as NVFP4 or MXFP4 are written as they are, and give a file of
/// floats its name.
FileKind file_kind_of(DType type, std::span<const PlannedTensor> tensors) {
  const auto any = [&](DType of) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const PlannedTensor& t) { return t.output.type == of; });
  };
  if (type != DType::Q8_0 && any(DType::NVFP4)) return {39, "NVFP4"};
  if (type != DType::Q8_0 && any(DType::MXFP4)) return {38, "MXFP4_MOE"};
  return {file_type_of(type), traits(type).name};
}

/// Tensors that a checkpoint may hold and that no model needs.
bool is_ignored(std::string_view name) {
  for (const std::string_view end :
       {".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq"})
    if (name.ends_with(end)) return true;
  return false;
}

/// Name without the part that wraps a text model inside a larger one.
std::string plain_name(std::string name) {
  constexpr std::string_view kWrapper = "language_model.";
  if (const auto at = name.find(kWrapper); at != name.npos) name.erase(at, kWrapper.size());
  return name;
}

HParams shape_of(const HfConfig& config) {
  HParams h;
  h.arch = config.arch;
  h.n_layers = config.n_layers;
  h.n_embd = config.n_embd;
  h.n_ff = config.n_ff;
  h.n_heads = config.n_heads;
  h.n_kv_heads = config.n_kv_heads;
  h.head_dim = h.value_dim = h.n_rot = config.rope_dimensions();
  h.n_vocab = config.n_vocab;
  return h;
}

class TensorPlanner {
 public:
  TensorPlanner(const TensorSource& source, const HfConfig& config, const ConvertOptions& options,
                Monitor& monitor)
      : source_(source),
        quantized_(dynamic_cast<const QuantizedFolder*>(&source)),
        config_(config),
        shape_(shape_of(config)),
        compat_(options.compat),
        keep_types_(options.keep_types),
        monitor_(monitor) {}

  /// All tensors but those that only we add; `type` is used for the matrices.
  std::vector<PlannedTensor> plan(DType type) {
    type_ = type;
    std::vector<std::string> unknown;
    bool begun = false;
    // In the source's order: shards by name, inside a shard tensors by name.
    for (std::size_t index = 0; index < source_.tensors().size(); ++index) {
      const auto& name = source_.tensors()[index].name;
      if (is_ignored(name)) continue;
      // NVFP4 comes before all others in the reference's files.
      if (!begun && source_.tensors()[index].type != DType::NVFP4) {
        begun = true;
        if (config_.frequency_scaling) add_rope_frequencies();
      }
      const auto match = match_hf_name(*config_.arch, plain_name(name));
      if (!match.rule || match.layer >= config_.n_layers)
        unknown.push_back(name);
      else
        add(index, match);
    }
    if (!unknown.empty()) refuse_unknown(unknown);
    check_complete();
    return std::move(tensors_);
  }

  /// A head without an embedding: nothing can run that, so the embedding is the head once more.
  std::optional<PlannedTensor> missing_embedding(const std::vector<PlannedTensor>& tensors) const {
    const PlannedTensor* head = nullptr;
    for (const auto& tensor : tensors) {
      if (tensor.output.name == "token_embd.weight") return std::nullopt;
      if (tensor.output.name == "output.weight") head = &tensor;
    }
    if (!head || compat_) return std::nullopt;
    monitor_.warning(
        source_.name() +
        ": has lm_head.weight but no model.embed_tokens.weight; token_embd.weight is "
        "written as a copy of output.weight, which the reference converter leaves out");
    auto copy = *head;
    copy.output.name = "token_embd.weight";
    copy.reason = "the checkpoint has only lm_head.weight";
    return copy;
  }

  /// The type of the first matrix, as the reference guesses it: also scales are matrices.
  DType guessed_type() const {
    const TensorSource& stored = quantized_ ? quantized_->stored() : source_;
    for (const auto& tensor : stored.tensors()) {
      if (tensor.shape.size() < 2) continue;
      if (tensor.type == DType::F16 || tensor.type == DType::BF16) return tensor.type;
    }
    return DType::F16;
  }

 private:
  void add_rope_frequencies() {
    PlannedTensor t;
    t.values = rope_frequency_divisors(*config_.frequency_scaling, config_.rope_theta,
                                       config_.rope_dimensions());
    t.output = {"rope_freqs.weight", DType::F32, {t.values.size()}};
    t.reason = "made from rope_scaling";
    tensors_.push_back(std::move(t));
  }

  void add(std::size_t index, const RuleMatch& match) {
    const auto& tensor = source_.tensors()[index];
    const auto expected = rule_shape(*match.rule, shape_, config_.n_vocab);
    if (tensor.shape != expected)
      fail(ErrorKind::input, source_.name(), ": ", tensor.name, " has shape ",
           shape_text(tensor.shape), "; expected ", shape_text(expected), " by config.json");
    if (!traits(tensor.type).has_codec())
      fail(ErrorKind::unsupported, source_.name(), ": ", tensor.name, " is stored as ",
           traits(tensor.type).name, "; supported are F32, F16 and BF16");
    PlannedTensor t;
    t.output = {layer_name(match.rule->gguf_name, match.layer), DType::F32, tensor.shape};
    t.source = &source_;
    t.source_index = index;
    choose_type(t);
    if (match.rule->rows == Dim::none)
      reorder_vector(match.rule->transform, t);
    else
      t.source_row = row_order(match.rule->transform);
    if (!made_.emplace(t.output.name, tensor.name).second)
      fail(ErrorKind::input, source_.name(), ": ", made_[t.output.name], " and ", tensor.name,
           " are the same tensor");
    tensors_.push_back(std::move(t));
    if (tensor.type == DType::NVFP4) add_scales(*quantized_->matrix(index));
  }

  /// GGUF's NVFP4 has no factor of a whole matrix: it is a tensor beside it, unless it is 1.
  void add_scales(const StoredMatrix& matrix) {
    const std::string name = tensors_.back().output.name;
    const auto add_one = [&](const char* suffix, float scale) {
      if (std::fabs(static_cast<double>(scale) - 1) < 1e-6) return;
      PlannedTensor t;
      t.values = {scale};
      t.output = {name.substr(0, name.rfind('.')) + suffix, DType::F32, {1}};
      t.reason = "the factor of " + name;
      tensors_.push_back(std::move(t));
    };
    add_one(".scale", matrix.tensor_scale);
    add_one(".input_scale", matrix.input_scale);
  }

  void choose_type(PlannedTensor& t) const {
    const auto& name = t.output.name;
    if (t.output.shape.size() <= 1 || name.ends_with("_norm.weight") ||
        !name.ends_with(".weight")) {
      t.wanted_type = t.output.type = DType::F32;
      t.reason = "vectors are kept in F32";
      return;
    }
    const DType stored = t.source_type();
    const bool kept = keep_types_ || stored == DType::NVFP4 || stored == DType::MXFP4;
    t.wanted_type = t.output.type = kept ? stored : type_;
    t.reason = kept ? "the checkpoint's type" : "output type";
    if (kept) return;
    const auto block = static_cast<std::uint64_t>(traits(type_).values);
    if (t.output.row_length() % block == 0) return;
    t.output.type = DType::F16;
    t.reason = "row length " + std::to_string(t.output.row_length()) + " is not a multiple of " +
               std::to_string(block);
  }

  std::function<std::uint64_t(std::uint64_t)> row_order(Transform transform) const {
    if (transform == Transform::none) return nullptr;
    const auto d = static_cast<std::uint64_t>(shape_.head_dim);
    if (d % 2 != 0)
      fail(ErrorKind::input, config_.file, ": head_dim is ", d, "; expected an even number");
    return [d](std::uint64_t row) { return split_row_of(row, d); };
  }

  /// The biases of rows that change places do so, too. A vector is one row: its values move.
  void reorder_vector(Transform transform, PlannedTensor& t) const {
    const auto order = row_order(transform);
    if (!order) return;
    const auto& tensor = source_.tensors()[t.source_index];
    std::vector<std::byte> bytes(tensor.bytes());
    source_.read(t.source_index, 0, bytes);
    std::vector<float> values(tensor.elements());
    traits(tensor.type).decode(bytes.data(), values.data(), values.size());
    t.source = nullptr;
    for (std::uint64_t i = 0; i < values.size(); ++i) t.values.push_back(values[order(i)]);
  }

  [[noreturn]] void refuse_unknown(const std::vector<std::string>& names) const {
    constexpr std::size_t kShown = 5;
    std::string list;
    for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i)
      list += (i ? ", " : "") + quote(names[i]);
    if (names.size() > kShown) list += " and " + std::to_string(names.size() - kShown) + " more";
    fail(ErrorKind::unsupported, source_.name(), ": has tensors that ", config_.arch->gguf_name,
         " models with ", config_.n_layers, " layers do not have: ", list);
  }

  void check_complete() const {
    for (const auto& rule : config_.arch->tensors) {
      if (!rule.required) continue;
      const bool layered = rule.gguf_name.find("{}") != std::string_view::npos;
      for (int layer = 0; layer < (layered ? config_.n_layers : 1); ++layer) {
        if (made_.contains(layer_name(rule.gguf_name, layer))) continue;
        if (rule.gguf_name == "token_embd.weight" && made_.contains("output.weight")) continue;
        fail(ErrorKind::input, source_.name(), ": ", layer_name(rule.hf_name, layer),
             " is missing");
      }
    }
  }

  const TensorSource& source_;
  const QuantizedFolder* quantized_;  ///< the source, or null
  const HfConfig& config_;
  HParams shape_;
  bool compat_, keep_types_;
  Monitor& monitor_;
  DType type_ = DType::F16;
  std::vector<PlannedTensor> tensors_;
  std::map<std::string, std::string> made_;  ///< GGUF name to checkpoint name
};

std::uint64_t parameters_of(const std::vector<PlannedTensor>& tensors) {
  std::uint64_t n = 0;
  for (const auto& t : tensors) n += t.output.elements();
  return n;
}

/// Metadata in the reference's order.
void add_metadata(const HfFolder& folder, const ConvertOptions& options,
                  const std::optional<HfConfig>& config, const FileKind& kind,
                  std::uint64_t parameters, Conversion& out, Monitor& monitor) {
  auto& metadata = out.plan.metadata;
  const bool has_pieces =
      !std::filesystem::is_directory(options.input) || folder.has("tokenizer.model");
  // Without config.json nothing says what the vocabulary belongs to: the usual owner of its kind.
  metadata.set("general.architecture",
               Value::of_string(config ? std::string(config->arch->gguf_name)
                                : has_pieces || folder.has("tokenizer.json") ? "llama"
                                                                             : "gpt2"));
  auto parts =
      add_general(folder, {options.name, options.overrides, parameters}, metadata, monitor);
  if (config) add_parameters(*config, kind.file_type, metadata);
  metadata.set(kQuantizationVersionKey, Value::of_u32(kQuantizationVersion));
  VocabularyOptions vocabulary;
  if (config) {
    vocabulary.arch = config->arch;
    vocabulary.n_vocab = config->n_vocab;
  }
  vocabulary.pre = options.pre;
  vocabulary.compat = options.compat;
  if (!std::filesystem::is_directory(options.input)) vocabulary.sentencepiece_file = options.input;
  add_vocabulary(folder, vocabulary, metadata, monitor);
  out.encoding = kind.name;
  if (options.vocab_only) {
    parts.size_label = std::nullopt;
    parts.kind = "vocab";
  } else {
    parts.encoding = out.encoding;
  }
  out.file_name = conventional_file_name(parts) + ".gguf";
}

Conversion plan_vocabulary(const ConvertOptions& options, Monitor& monitor) {
  Conversion out;
  const bool is_folder = std::filesystem::is_directory(options.input);
  const HfFolder folder(is_folder ? options.input : options.input.parent_path(), !is_folder);
  std::optional<HfConfig> config;
  if (folder.has("config.json")) config = read_hf_config(folder, monitor);
  add_metadata(folder, options, config, file_kind_of(options.type.value_or(DType::F16), {}), 0, out,
               monitor);
  if (!is_folder) out.inputs.push_back(options.input);
  return out;
}

}  // namespace

std::span<const OutputType> output_types() { return kOutputTypes; }

std::vector<SupportedFamily> supported_families() {
  std::vector<SupportedFamily> out;
  for (const auto* arch : all_archs()) {
    out.push_back({std::string(arch->gguf_name), {}});
    for (const auto& hf_class : arch->hf_classes)
      out.back().classes.emplace_back(hf_class.class_name);
  }
  return out;
}

Conversion plan_conversion(const ConvertOptions& options, Monitor& monitor) {
  if (options.type) file_type_of(*options.type);
  std::error_code ignored;
  if (!std::filesystem::exists(options.input, ignored))
    fail(ErrorKind::file, options.input.string(), ": no such file or folder");
  if (options.vocab_only) return plan_vocabulary(options, monitor);
  if (!std::filesystem::is_directory(options.input, ignored))
    fail(ErrorKind::input, options.input.string(),
         ": is a file; expected a Hugging Face model folder");
  const HfFolder folder(options.input);
  const auto config = read_hf_config(folder, monitor);
  Conversion out;
  if (const auto schemes = read_stored_schemes(folder))
    out.source = std::make_unique<QuantizedFolder>(
        std::make_unique<HfDirectory>(options.input), *schemes,
        options.keep_types ? Nvfp4As::with_divisor : Nvfp4As::gguf);
  else
    out.source = open_source(options.input);
  out.inputs = out.source->files();
  TensorPlanner planner(*out.source, config, options, monitor);
  const auto type = options.type.value_or(planner.guessed_type());
  out.plan.tensors = planner.plan(type);
  add_metadata(folder, options, config, file_kind_of(type, out.plan.tensors),
               parameters_of(out.plan.tensors), out, monitor);
  if (auto embedding = planner.missing_embedding(out.plan.tensors))
    out.plan.tensors.push_back(std::move(*embedding));
  return out;
}

}  // namespace lq
