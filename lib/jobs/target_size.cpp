#include "lib/jobs/target_size.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_layout.h"
#include "lib/jobs/allocation.h"
#include "lib/jobs/plan_pieces.h"
#include "lib/jobs/recipe.h"

namespace lq {
namespace {

constexpr std::uint64_t kSampledWeights = 1 << 17;  ///< of a matrix
constexpr int kMostExchanges = 400, kTableExchanges = 8;

/// Types to choose from, besides the source's own.
constexpr DType kTypes[] = {
    DType::IQ1_S,  DType::IQ1_M,   DType::IQ2_XXS, DType::IQ2_XS, DType::IQ2_S,
    DType::Q2_K,   DType::IQ3_XXS, DType::IQ3_S,   DType::Q3_K,   DType::IQ4_XS,
    DType::IQ4_NL, DType::Q4_0,    DType::Q4_K,    DType::Q4_1,   DType::Q5_0,
    DType::Q5_K,   DType::Q5_1,    DType::Q6_K,    DType::Q8_0,   DType::F16,
};

/// How much an error matters, by what a name holds; the first that matches counts. From the KL
/// divergence that an error of the same relative size gives, with each matrix alone in few bits.
struct RoleWeight {
  std::string_view text;
  double weight;
};
constexpr RoleWeight kRoleWeights[] = {
    {"attn_v.", 3},         {"attn_qkv.", 2},  {"attn_kv_b.", 2}, {"attn_output.", 2.2},
    {"output.weight", 2.7}, {"ffn_down", 1.5}, {"attn_q.", 0.8},
};

struct Candidate {
  DType type;
  SizeOption option;
};

/// A matrix to choose a type for.
struct Matrix {
  std::size_t tensor;  ///< number in the plan
  double weight;       ///< of its relative error
  std::vector<Candidate> candidates;
};

bool holds(std::string_view name, std::string_view text) {
  return name.find(text) != std::string_view::npos;
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

/// Whether a recipe, and not the user or a rule of what is kept, chose the type.
bool is_open(const PlannedTensor& tensor) {
  const bool copied = tensor.is_copy() && traits(tensor.source_type()).values > 1;
  return tensor.source && !copied && !starts_with(tensor.reason, "kept") &&
         !starts_with(tensor.reason, "--");
}

double weight_of(const PlannedTensor& tensor, bool tied) {
  double role = 1;
  if (tied && tensor.output.name == "token_embd.weight") role = 2.7;
  const auto* row =
      std::find_if(std::begin(kRoleWeights), std::end(kRoleWeights),
                   [&](const RoleWeight& r) { return holds(tensor.output.name, r.text); });
  if (row != std::end(kRoleWeights)) role = row->weight;
  return role * std::sqrt(static_cast<double>(tensor.output.elements()));
}

/// With the padding to the next tensor, whatever the model's alignment is.
std::uint64_t stored_bytes(const Plan& plan, const PlannedTensor& tensor, DType type) {
  const std::uint64_t alignment = gguf_alignment(plan.metadata);
  TensorInfo info = tensor.output;
  info.type = type;
  return (info.bytes() + alignment - 1) / alignment * alignment;
}

bool is_possible(const Plan& plan, const PlannedTensor& tensor, DType type) {
  static const Recipe& recipe = *find_recipe("Q4_K_M");
  const DTypeTraits& facts = traits(type);
  return facts.has_codec() &&
         tensor.output.row_length() % static_cast<std::uint64_t>(facts.values) == 0 &&
         stored_bytes(plan, tensor, type) <= stored_bytes(plan, tensor, tensor.source_type()) &&
         (tensor.importance || !demands_importance(recipe, tensor.output.name, type));
}

std::vector<Matrix> open_matrices(const Plan& plan) {
  const bool tied =
      std::none_of(plan.tensors.begin(), plan.tensors.end(),
                   [](const PlannedTensor& t) { return t.output.name == "output.weight"; });
  std::vector<Matrix> matrices;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& tensor = plan.tensors[i];
    if (!is_open(tensor)) continue;
    std::set<DType> types = {tensor.source_type()};
    for (const DType type : kTypes)
      if (is_possible(plan, tensor, type)) types.insert(type);
    Matrix matrix{i, weight_of(tensor, tied), {}};
    for (const DType type : types)
      matrix.candidates.push_back({type, {stored_bytes(plan, tensor, type), 0}});
    matrices.push_back(std::move(matrix));
  }
  return matrices;
}

/// Sum of squared errors over sum of squares, of rows spread evenly; by importance.
double relative_error(const PlannedTensor& tensor, DType type,
                      const kernels::KernelTable& kernels) {
  if (type == tensor.source_type()) return 0;
  const std::size_t n = tensor.output.row_length();
  const std::uint64_t rows = tensor.output.rows();
  const std::uint64_t n_rows = std::clamp<std::uint64_t>(kSampledWeights / n, 1, rows);
  const std::byte* source = tensor.source->data(tensor.source_index).data();
  std::vector<float> before(n), after(n);
  std::vector<std::byte> encoded(traits(type).row_bytes(n));
  double errors = 0, squares = 0;
  for (std::uint64_t i = 0; i < n_rows; ++i) {
    const std::uint64_t row = i * rows / n_rows;
    const std::uint64_t from = tensor.source_row ? tensor.source_row(row) : row;
    kernels.decode[index_of(tensor.source_type())](source + from * source_row_bytes(tensor),
                                                   before.data(), n);
    const float* importance = tensor.importance_of(row);
    for (std::size_t j = 0; j < n; ++j) {
      if (!std::isfinite(before[j]))
        fail(ErrorKind::input, tensor.source->name(), ": tensor ", quote(tensor.output.name),
             ": element ", from * n + j, " is ", before[j], "; weights have to be finite");
      squares += (importance ? double{importance[j]} : 1) * before[j] * before[j];
    }
    kernels.encode[index_of(type)](before.data(), importance, encoded.data(), n);
    kernels.decode[index_of(type)](encoded.data(), after.data(), n);
    for (std::size_t j = 0; j < n; ++j) {
      const double error = double{before[j]} - after[j];
      errors += (importance ? double{importance[j]} : 1) * error * error;
    }
  }
  return squares > 0 ? errors / squares : 0;
}

void measure(const Plan& plan, std::vector<Matrix>& matrices, int threads, Monitor& monitor) {
  const kernels::KernelTable& kernels = choose_cpu_kernels();
  monitor.begin("measuring types", matrices.size(), Unit::items);
  for (Matrix& matrix : matrices) {
    monitor.check_stop();
    const PlannedTensor& tensor = plan.tensors[matrix.tensor];
    parallel_for(static_cast<std::ptrdiff_t>(matrix.candidates.size()), threads,
                 [&](std::ptrdiff_t i) {
                   Candidate& one = matrix.candidates[static_cast<std::size_t>(i)];
                   one.option.loss = matrix.weight * relative_error(tensor, one.type, kernels);
                 });
    tensor.source->release(tensor.source_index);
    monitor.advance(1);
  }
  monitor.end();
}

/// By size, and only those that lose less than every smaller one.
void keep_best(std::vector<Candidate>& candidates) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) {
                     return a.option.bytes != b.option.bytes ? a.option.bytes < b.option.bytes
                                                             : a.option.loss < b.option.loss;
                   });
  std::vector<Candidate> best;
  for (const Candidate& one : candidates)
    if (best.empty() || one.option.loss < best.back().option.loss) best.push_back(one);
  candidates = std::move(best);
}

/// What has to be chosen between, and the bytes of everything else.
class Problem {
 public:
  Problem(const Plan& plan, int threads, Monitor& monitor)
      : plan_(plan), matrices_(open_matrices(plan)) {
    if (matrices_.empty())
      fail(ErrorKind::usage, "there is no matrix whose type could be chosen for the size");
    measure(plan, matrices_, threads, monitor);
    fixed_ = plan.file_bytes();
    for (Matrix& matrix : matrices_) {
      fixed_ -=
          stored_bytes(plan, plan.tensors[matrix.tensor], plan.tensors[matrix.tensor].output.type);
      keep_best(matrix.candidates);
      SizeOptions options;
      for (const Candidate& one : matrix.candidates) options.push_back(one.option);
      options_.push_back(std::move(options));
    }
  }

  std::uint64_t least() const { return total(std::vector<std::size_t>(matrices_.size(), 0)); }
  std::uint64_t most() const {
    std::vector<std::size_t> last;
    for (const SizeOptions& options : options_) last.push_back(options.size() - 1);
    return total(last);
  }

  /// The best choice of at most so many bytes, which are at least least().
  std::vector<std::size_t> choose(std::uint64_t bytes, int exchanges) const {
    return allocate(options_, bytes - fixed_, exchanges);
  }

  SizeRow row(const std::vector<std::size_t>& choice) const {
    SizeRow row;
    row.bytes = total(choice);
    double matrix_bytes = 0, weights = 0, all = 0;
    for (std::size_t i = 0; i < choice.size(); ++i) {
      row.loss += options_[i][choice[i]].loss;
      matrix_bytes += static_cast<double>(options_[i][choice[i]].bytes);
      weights += static_cast<double>(plan_.tensors[matrices_[i].tensor].output.elements());
      all += matrices_[i].weight;
    }
    row.loss /= all;
    row.bits_per_weight = matrix_bytes * 8 / weights;
    return row;
  }

  void apply(const std::vector<std::size_t>& choice, Plan& plan) const {
    for (std::size_t i = 0; i < choice.size(); ++i) {
      PlannedTensor& tensor = plan.tensors[matrices_[i].tensor];
      const Candidate& chosen = matrices_[i].candidates[choice[i]];
      tensor.output.type = tensor.wanted_type = chosen.type;
      tensor.reason = "target size";
    }
  }

 private:
  std::uint64_t total(const std::vector<std::size_t>& choice) const {
    std::uint64_t bytes = fixed_;
    for (std::size_t i = 0; i < choice.size(); ++i) bytes += options_[i][choice[i]].bytes;
    return bytes;
  }

  const Plan& plan_;
  std::vector<Matrix> matrices_;
  std::vector<SizeOptions> options_;  ///< of each matrix
  std::uint64_t fixed_ = 0;
};

std::vector<SizeRow> make_table(const Problem& problem, std::uint64_t target) {
  constexpr int kPercents[] = {60, 70, 80, 90, 95, 105, 110, 120, 130, 150, 200};
  std::vector<SizeRow> table;
  for (const int percent : kPercents) {
    const std::uint64_t bytes = target / 100 * static_cast<std::uint64_t>(percent);
    if (bytes < problem.least()) continue;
    table.push_back(problem.row(problem.choose(bytes, kTableExchanges)));
    if (bytes >= problem.most()) break;
  }
  return table;
}

/// By size, without rows that another of at most their size betters. Rows found with fewer
/// exchanges may be such; the chosen one stays.
void keep_front(std::vector<SizeRow>& table) {
  std::stable_sort(table.begin(), table.end(), [](const SizeRow& a, const SizeRow& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.chosen && !b.chosen;
  });
  const SizeRow chosen =
      *std::find_if(table.begin(), table.end(), [](const SizeRow& row) { return row.chosen; });
  std::vector<SizeRow> front;
  for (const SizeRow& row : table) {
    const bool smaller = row.bytes < chosen.bytes;
    if (!row.chosen && (smaller ? row.loss <= chosen.loss : row.loss >= chosen.loss)) continue;
    if (front.empty() || row.loss < front.back().loss) front.push_back(row);
  }
  table = std::move(front);
}

}  // namespace

std::uint64_t bytes_at(const Plan& plan, double bits_per_weight) {
  std::uint64_t others = plan.file_bytes();
  double weights = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (trimmed_shape(tensor.output.shape).size() < 2) continue;
    others -= tensor.output.bytes();
    weights += static_cast<double>(tensor.output.elements());
  }
  return others + static_cast<std::uint64_t>(weights * bits_per_weight / 8);
}

SizeFit fit_to_size(Plan& plan, std::uint64_t target_bytes, int threads, Monitor& monitor) {
  const Problem problem(plan, threads, monitor);
  if (target_bytes < problem.least())
    fail(ErrorKind::usage, "a file of at most ", target_bytes,
         " bytes cannot be made; the smallest has ", problem.least());
  SizeFit fit{.target_bytes = target_bytes, .table = make_table(problem, target_bytes)};
  const std::vector<std::size_t> choice = problem.choose(target_bytes, kMostExchanges);
  fit.table.push_back(problem.row(choice));
  fit.table.back().chosen = true;
  keep_front(fit.table);
  problem.apply(choice, plan);
  return fit;
}

std::string type_lines(const Plan& plan) {
  std::string text;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (starts_with(tensor.reason, "kept")) continue;
    std::string regex;
    for (const char c : tensor.output.name) {
      const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
      // Patterns are read in lower case and end at spaces: any character stands for others.
      regex += c == '.' ? "\\." : word ? std::string(1, c) : ".";
    }
    text += "^" + regex + "$=" + traits(tensor.output.type).name + "\n";
  }
  return text;
}

std::string size_table(const SizeFit& fit) {
  std::ostringstream text;
  text << "        bytes  bits per weight      loss\n" << std::fixed;
  for (const SizeRow& row : fit.table) {
    text << (row.chosen ? "* " : "  ");
    text.precision(3);
    text.width(11);
    text << row.bytes << "  ";
    text.width(15);
    text << row.bits_per_weight << "  ";
    text.precision(6);
    text << row.loss << "\n";
  }
  return text.str();
}

OrderedJson size_json(const SizeFit& fit) {
  OrderedJson rows = OrderedJson::array();
  for (const SizeRow& row : fit.table)
    rows.push_back({{"bytes", row.bytes},
                    {"bits_per_weight", row.bits_per_weight},
                    {"loss", row.loss},
                    {"chosen", row.chosen}});
  return {{"target_bytes", fit.target_bytes}, {"sizes", rows}};
}

}  // namespace lq
