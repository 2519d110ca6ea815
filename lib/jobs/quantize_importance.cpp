#include "lib/jobs/quantize_importance.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr std::size_t kListed = 8;         ///< names in a message
constexpr std::size_t kStoredBytes = 127;  ///< of a text in the metadata, as the reference keeps it

/// Types that take the place of those that need importance.
struct Raised {
  DType from, to;
};
constexpr Raised kRaised[] = {
    {DType::IQ1_S, DType::Q2_K},  {DType::IQ1_M, DType::Q2_K}, {DType::IQ2_XXS, DType::Q2_K},
    {DType::IQ2_XS, DType::Q2_K}, {DType::IQ2_S, DType::Q2_K}, {DType::IQ3_XXS, DType::IQ3_S},
    {DType::Q2_K, DType::Q3_K},
};

DType raised(const Recipe& recipe, const TensorInfo& tensor, DType type) {
  while (demands_importance(recipe, tensor.name, type)) {
    const auto row = std::find_if(std::begin(kRaised), std::end(kRaised),
                                  [type](const Raised& r) { return r.from == type; });
    LQ_ASSERT(row != std::end(kRaised));
    type = row->to;
  }
  return type;
}

/// "a, b and 3 more"
std::string listing(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kListed); ++i)
    text += (i > 0 ? ", " : "") + names[i];
  if (names.size() > kListed) text += " and " + std::to_string(names.size() - kListed) + " more";
  return text;
}

std::string tensors_text(std::size_t n) {
  return std::to_string(n) + (n == 1 ? " tensor" : " tensors");
}

bool holds_any(const std::string& name, const std::vector<std::string>& parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](const std::string& part) { return name.find(part) != std::string::npos; });
}

/// The embedding and the output are not measured as a rule.
bool is_usually_missing(std::string_view name) {
  return name == "token_embd.weight" || name == "per_layer_token_embd.weight" ||
         name == "output.weight";
}

std::uint64_t matrices_of(const TensorInfo& tensor) {
  return tensor.shape.size() > 2 ? tensor.shape[2] : 1;
}

Value stored_text(std::string text) {
  return Value::of_string(text.substr(0, std::min(text.size(), kStoredBytes)));
}

/// One matrix of an entry: means of squares.
void take_means(const float* sums, std::size_t n, std::int64_t count, bool legacy, float* out) {
  if (count > 0)
    std::transform(sums, sums + n, out, [d = static_cast<float>(count)](float v) { return v / d; });
  else if (legacy)
    std::copy_n(sums, n, out);
  else
    std::fill_n(out, n, 1.0f);
}

}  // namespace

ImportanceUse::ImportanceUse(const ImportanceOptions& options) : options_(options) {
  if (!options.matrix) return;
  for (const auto& [name, entry] : options.matrix->entries)
    if ((options.include.empty() || holds_any(name, options.include)) &&
        !holds_any(name, options.exclude))
      entries_.emplace_back(&name, &entry);
  if (entries_.empty())
    fail(ErrorKind::usage, options.matrix->name, ": --include-weights and --exclude-weights leave ",
         "none of its ", options.matrix->entries.size(), " entries");
  for (const auto& [name, entry] : entries_) check_importance(options.matrix->name, *name, *entry);
}

const ImportanceEntry* ImportanceUse::find(const std::string& name) const {
  const auto at =
      std::lower_bound(entries_.begin(), entries_.end(), name,
                       [](const auto& row, const std::string& n) { return *row.first < n; });
  return at != entries_.end() && *at->first == name ? at->second : nullptr;
}

ColumnWeights ImportanceUse::weights_of(const TensorInfo& tensor, const ImportanceEntry& entry) {
  std::vector<float> weights(entry.sums.size());
  const std::size_t columns = entry.columns();
  for (std::size_t i = 0; i < entry.counts.size(); ++i)
    take_means(entry.sums.data() + i * columns, columns, entry.counts[i], options_.matrix->legacy,
               weights.data() + i * columns);
  const std::size_t row = tensor.row_length();
  for (std::size_t i = 0; i < weights.size() / row; ++i) {
    const auto begin = weights.begin() + static_cast<std::ptrdiff_t>(i * row);
    const auto end = begin + static_cast<std::ptrdiff_t>(row);
    if (std::any_of(begin, end, [](float v) { return v != 0; })) continue;
    std::fill(begin, end, 1.0f);
    warnings_.push_back("the importance of " + quote(tensor.name) +
                        (weights.size() > row ? ", matrix " + std::to_string(i) + "," : "") +
                        " is zero everywhere; all its columns get the same weight");
  }
  return std::make_shared<const std::vector<float>>(std::move(weights));
}

void ImportanceUse::note_experts(const std::string& name, const ImportanceEntry& entry) {
  if (entry.counts.size() < 2 || options_.matrix->legacy) return;
  std::string few;
  for (std::size_t i = 0; i < entry.counts.size(); ++i)
    if (entry.counts[i] < options_.min_expert_tokens)
      few += (few.empty() ? "" : ", ") + std::to_string(i) + " (" +
             std::to_string(entry.counts[i]) + ")";
  if (few.empty()) return;
  // The matrices of a layer saw the same tokens: one line for all of them.
  if (rare_.empty() || rare_.back().experts != few) rare_.push_back({std::move(few), {}});
  rare_.back().tensors.push_back(name);
}

bool ImportanceUse::settle_missing(const Recipe& recipe, const TensorInfo& tensor,
                                   TypeDecision& decision, ColumnWeights& weights) const {
  switch (options_.on_missing) {
    case OnMissing::error:
      return false;
    case OnMissing::raise:
      decision.reason = std::string("no importance: raised from ") + traits(decision.type).name;
      decision.type = raised(recipe, tensor, decision.type);
      return true;
    case OnMissing::uniform:
      decision.reason += ", no importance: all columns alike";
      weights = std::make_shared<const std::vector<float>>(
          tensor.row_length() * matrices_of(tensor), 1.0f);
      return true;
  }
  return false;
}

const ImportanceEntry* ImportanceUse::fitting(const TensorInfo& tensor) {
  const ImportanceEntry* entry = find(tensor.name);
  const std::uint64_t expected = tensor.row_length() * matrices_of(tensor);
  if (!entry || entry->sums.size() == expected) return entry;
  std::string text = quote(tensor.name) + " has " + std::to_string(entry->sums.size()) +
                     " values, expected " + std::to_string(expected);
  if (tensor.name == "token_embd.weight")  // as the reference has it: of another use of the matrix
    warnings_.push_back("importance of " + text + "; it is not used");
  else
    wrong_.push_back(std::move(text));
  return nullptr;
}

std::vector<ColumnWeights> ImportanceUse::assign(const Recipe& recipe,
                                                 std::span<const TensorInfo> tensors,
                                                 std::vector<TypeDecision>& decisions) {
  std::vector<ColumnWeights> result(tensors.size());
  if (options_.to_be_measured) return result;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor = tensors[i];
    const DType type = decisions[i].type;
    if (tensor.type == type || traits(type).values == 1) continue;
    if (const ImportanceEntry* entry = fitting(tensor)) {
      result[i] = weights_of(tensor, *entry);
      note_experts(tensor.name, *entry);
    } else if (demands_importance(recipe, tensor.name, type)) {
      const bool done = settle_missing(recipe, tensor, decisions[i], result[i]);
      (done ? settled_ : refused_).push_back(tensor.name + " (" + traits(type).name + ")");
    } else if (!entries_.empty() && !is_usually_missing(tensor.name) &&
               !options_.matrix->entries.contains(tensor.name)) {
      without_.push_back(tensor.name);
    }
  }
  report();
  return result;
}

void ImportanceUse::check_names(std::span<const TensorInfo> tensors) {
  const auto n_known = std::count_if(tensors.begin(), tensors.end(), [this](const TensorInfo& t) {
    return find(t.name) != nullptr;
  });
  const std::size_t n = entries_.size() - static_cast<std::size_t>(n_known);
  if (n > 0)
    warnings_.push_back(options_.matrix->name + ": " + std::to_string(n) + " of its " +
                        std::to_string(entries_.size()) +
                        " entries are of tensors that this model does not have");
}

void ImportanceUse::report() {
  if (!wrong_.empty())
    fail(ErrorKind::input, options_.matrix->name, ": does not fit the model: ", listing(wrong_),
         "; is it of another model?");
  if (!refused_.empty())
    fail(ErrorKind::unsupported, tensors_text(refused_.size()),
         " cannot be made without importance: ", listing(refused_),
         "; give it with --imatrix or --calibrate, or have them made otherwise with --on-missing "
         "raise or uniform");
  if (!settled_.empty())
    warnings_.push_back(tensors_text(settled_.size()) + " should have importance and " +
                        (options_.on_missing == OnMissing::raise
                             ? "got a larger type: "
                             : "are encoded with equal weights: ") +
                        listing(settled_));
  for (const RareExperts& rare : rare_)
    warnings_.push_back("experts that saw fewer than " +
                        std::to_string(options_.min_expert_tokens) + " tokens: " + rare.experts +
                        " of " + listing(rare.tensors));
  if (!without_.empty())
    warnings_.push_back(options_.matrix->name + ": says nothing of " +
                        tensors_text(without_.size()) +
                        ", encoded without importance: " + listing(without_));
}

void ImportanceUse::describe(Metadata& metadata) const {
  if (entries_.empty()) return;
  if (!options_.file.empty())
    metadata.move_to_end("quantize.imatrix.file", stored_text(options_.file));
  if (!options_.matrix->datasets.empty())
    metadata.move_to_end("quantize.imatrix.dataset", stored_text(options_.matrix->datasets[0]));
  metadata.move_to_end("quantize.imatrix.entries_count",
                       Value::of_u32(static_cast<std::uint32_t>(entries_.size())));
  if (options_.matrix->chunk_count > 0)
    metadata.move_to_end("quantize.imatrix.chunks_count",
                         Value::of_u32(static_cast<std::uint32_t>(options_.matrix->chunk_count)));
}

}  // namespace lq
