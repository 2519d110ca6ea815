#include "lib/jobs/serving.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/linear_layouts.h"

namespace lq {
namespace {

enum class EngineId {
#define LQ_ENGINE(name, version, parallel, fuses) name,
#define LQ_SERVES(engine, layout, number, bits, symmetric, zeros, scales, rows, cols, experts)
#include "lib/jobs/serving_rules.def"
#undef LQ_ENGINE
#undef LQ_SERVES
};

struct ServingRule {
  EngineId engine;
  WeightLayout layout;
  WeightNumber number;
  std::string_view bits;
  bool symmetric, zero_points;
  std::string_view scales;
  std::uint64_t rows, cols;
  bool experts;
};

constexpr ServingRule kServingRules[] = {
#define LQ_ENGINE(name, version, parallel, fuses)
#define LQ_SERVES(engine, layout, number, bits, symmetric, zeros, scales, rows, cols, experts) \
  {EngineId::engine,                                                                           \
   WeightLayout::layout,                                                                       \
   WeightNumber::number,                                                                       \
   bits,                                                                                       \
   symmetric,                                                                                  \
   zeros,                                                                                      \
   scales,                                                                                     \
   rows,                                                                                       \
   cols,                                                                                       \
   experts},
#include "lib/jobs/serving_rules.def"
#undef LQ_ENGINE
#undef LQ_SERVES
};

const std::vector<Engine>& all_engines() {
  static const std::vector<Engine> kEngines = {
#define LQ_ENGINE(name, version, parallel, fuses) {#name, version, parallel, fuses},
#define LQ_SERVES(engine, layout, number, bits, symmetric, zeros, scales, rows, cols, experts)
#include "lib/jobs/serving_rules.def"
#undef LQ_ENGINE
#undef LQ_SERVES
  };
  return kEngines;
}

char letter_of(ScalesOf scales) { return "tcgb"[static_cast<int>(scales)]; }

const ServingRule* serving_rule_for(const ServeTarget& target, const WeightScheme& scheme) {
  const auto engine = static_cast<EngineId>(target.engine - all_engines().data());
  for (const ServingRule& rule : kServingRules)
    if (rule.engine == engine && rule.layout == scheme.layout && rule.number == scheme.number &&
        rule.bits.find(static_cast<char>('0' + scheme.bits)) != std::string_view::npos &&
        (scheme.symmetric ? rule.symmetric : rule.zero_points) &&
        rule.scales.find(letter_of(scheme.scales)) != std::string_view::npos)
      return &rule;
  return nullptr;
}

std::string leaf_of(const std::string& module) { return module.substr(module.rfind('.') + 1); }

/// Modules whose columns are shared among GPUs; of all others it is the rows.
bool shares_columns(const std::string& module) {
  constexpr std::string_view kRowParallel[] = {"o_proj", "down_proj", "w2"};
  return std::find(std::begin(kRowParallel), std::end(kRowParallel), leaf_of(module)) !=
         std::end(kRowParallel);
}

/// Collects reasons; of those that hold for many modules only the first module is named.
class Problems {
 public:
  void add(const std::string& module, const std::string& what) {
    if (++count_[what] == 1) first_.push_back({module, what});
  }
  void add(const std::string& what) { first_.push_back({"", what}); }

  std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    for (const auto& [module, what] : first_) {
      if (module.empty()) {
        lines.push_back(what);
        continue;
      }
      const int others = count_.at(what) - 1;
      lines.push_back(module + (others > 0 ? " and " + std::to_string(others) + " more" : "") +
                      ": " + what);
    }
    return lines;
  }

 private:
  std::vector<std::pair<std::string, std::string>> first_;
  std::map<std::string, int> count_;
};

std::string multiple_text(const char* what, std::uint64_t n, std::uint64_t n_gpus,
                          std::uint64_t of) {
  return std::to_string(n) + " " + what +
         (n_gpus > 1 ? " on each of " + std::to_string(n_gpus) + " GPUs" : "") +
         " are no multiple of " + std::to_string(of);
}

/// How many shares a module is cut into: key-value heads fewer than GPUs are repeated.
std::uint64_t shares_of(const ServeTarget& target, const ServedModel& model,
                        const std::string& module) {
  const auto n = static_cast<std::uint64_t>(target.n_gpus);
  const bool of_kv = leaf_of(module) == "k_proj" || leaf_of(module) == "v_proj";
  return of_kv && model.n_kv_heads > 0 ? std::min(n, model.n_kv_heads) : n;
}

/// A module's share, of `n`, against the rule.
void check_share(std::uint64_t n, const WeightScheme& scheme, const ServingRule& rule,
                 const ServedModel::Module& module, Problems& problems) {
  const bool by_columns = shares_columns(module.name);
  if ((by_columns ? module.cols : module.rows) % n != 0)
    return problems.add(module.name, std::to_string(by_columns ? module.cols : module.rows) +
                                         (by_columns ? " columns" : " rows") +
                                         " cannot be shared by " + std::to_string(n) + " GPUs");
  const std::uint64_t rows = by_columns ? module.rows : module.rows / n;
  const std::uint64_t cols = by_columns ? module.cols / n : module.cols;
  const auto check = [&](const char* what, std::uint64_t amount, std::uint64_t of) {
    if (of > 1 && amount % of != 0) problems.add(module.name, multiple_text(what, amount, n, of));
  };
  check("rows", rows, rule.rows);
  check("columns", cols, rule.cols);
  if (scheme.scales == ScalesOf::group)
    check("columns", cols, static_cast<std::uint64_t>(scheme.group_size));
  if (scheme.scales == ScalesOf::block) check("columns", cols, 128);
  if (scheme.scales == ScalesOf::block && n > 1 && !by_columns) check("rows", rows, 128);
  if (scheme.number != WeightNumber::integer) return;
  if (const std::string why = integers_refused(scheme, {.rows = rows, .cols = cols}); !why.empty())
    problems.add(module.name, why);
}

constexpr std::array<std::array<std::string_view, 3>, 3> kFusedParts = {
    {{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj", ""}, {"w1", "w3", ""}}};

/// What an engine runs as one: quantized together, and of whole blocks.
void check_fused(const WeightScheme& scheme, const ServedModel& model, Problems& problems) {
  std::map<std::string, const ServedModel::Module*> by_name;
  for (const ServedModel::Module& module : model.modules) by_name[module.name] = &module;
  for (const ServedModel::Module& module : model.modules)
    for (const auto& set : kFusedParts) {
      if (leaf_of(module.name) != set[0]) continue;
      const std::string stem =
          module.name.substr(0, module.name.size() - std::string_view(set[0]).size());
      for (std::size_t i = 1; i < set.size() && !set[i].empty(); ++i) {
        const auto other = by_name.find(stem + std::string(set[i]));
        if (other == by_name.end()) continue;
        if (other->second->quantized != module.quantized)
          problems.add(module.name,
                       "is run as one with " + std::string(set[i]) +
                           ", but only one of them is quantized; --ignore both or none");
        const auto& before = *by_name.at(stem + std::string(set[i - 1]));
        if (scheme.scales == ScalesOf::block && before.quantized && before.rows % 128 != 0)
          problems.add(before.name,
                       std::to_string(before.rows) +
                           " rows in front of a fused part are no whole blocks of 128");
      }
    }
}

void check_heads(const ServeTarget& target, const ServedModel& model, Problems& problems) {
  const auto n = static_cast<std::uint64_t>(target.n_gpus);
  if (model.n_heads % n != 0)
    problems.add(std::to_string(model.n_heads) + " attention heads cannot be shared by " +
                 std::to_string(n) + " GPUs");
  if (model.n_kv_heads > 0 && model.n_kv_heads % n != 0 && n % model.n_kv_heads != 0)
    problems.add(std::to_string(model.n_kv_heads) + " key-value heads cannot be shared by " +
                 std::to_string(n) + " GPUs");
}

/// Options that make `base` of the command line out of the scheme.
struct ServedSettings {
  double distance;
  std::string options;
  WeightScheme scheme;
};

void add_candidates(const WeightScheme& wanted, const WeightScheme& base,
                    std::vector<ServedSettings>& candidates) {
  for (const LayoutTraits& layout : weight_layouts())
    for (const char* group : {"", "128", "64", "32", "channel"}) {
      ServedSettings one{.distance = std::fabs(base.bits_per_weight() - wanted.bits_per_weight()),
                         .options = base.name,
                         .scheme = base};
      try {
        one.scheme = with_choices(base, {.format = layout.name, .group_size = group});
      } catch (const Error&) {
        continue;  // no such combination
      }
      if (one.scheme.layout != base.layout) one.options += " --format " + layout.name;
      if (*group) one.options += std::string(" --group-size ") + group;
      if (base.name != wanted.name) one.distance += 2;
      if (base.measures_inputs() != wanted.measures_inputs()) one.distance += 1;
      if (base.number != wanted.number) one.distance += 1;
      if (base.scales == ScalesOf::tensor && wanted.scales != base.scales) one.distance += 0.5;
      if (one.scheme.layout != wanted.layout) one.distance += 1;
      if (one.scheme.scales != wanted.scales || one.scheme.group_size != wanted.group_size)
        one.distance += std::fabs(one.scheme.bits_per_weight() - wanted.bits_per_weight()) + 0.1;
      candidates.push_back(std::move(one));
    }
}

}  // namespace

std::span<const Engine> engines() { return all_engines(); }

ServeTarget parse_serve_target(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const auto& all = all_engines();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Engine& one) { return one.name == name; });
  if (found == all.end()) {
    std::string names;
    for (const Engine& one : all) names += (names.empty() ? "" : ", ") + one.name;
    fail(ErrorKind::usage, "--serve-with ", quote(text), ": unknown engine ", quote(name),
         "; engines are ", names);
  }
  ServeTarget target{.engine = &*found};
  if (colon == std::string::npos) return target;
  const std::string_view rest = std::string_view(text).substr(colon + 1);
  const std::string_view number = rest.substr(std::min<std::size_t>(3, rest.size()));
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), target.n_gpus);
  if (!rest.starts_with("tp=") || error != std::errc() || end != number.data() + number.size() ||
      target.n_gpus < 1 || target.n_gpus > 1024)
    fail(ErrorKind::usage, "--serve-with ", quote(text),
         ": expected ENGINE or ENGINE:tp=N with N from 1 to 1024");
  if (target.n_gpus > 1 && !found->parallel)
    fail(ErrorKind::usage, "--serve-with ", quote(text), ": ", name,
         " has no rules for several GPUs; leave out tp");
  return target;
}

ServedModel served_model(const CheckpointPlan& plan) {
  ServedModel model;
  for (const PlannedModule& module : plan.modules) {
    if (module.linear) {
      model.modules.push_back(
          {module.linear->module, module.linear->rows, module.linear->cols, true});
      continue;
    }
    const TensorInfo& tensor = plan.source->info(module.source_index);
    if (module.reason.starts_with("--ignore"))
      model.modules.push_back({tensor.name.substr(0, tensor.name.rfind('.')), tensor.rows(),
                               tensor.row_length(), false});
  }
  const OrderedJson config = parse_ordered_json(plan.config, "config.json");
  const auto number = [&](const char* key) -> std::uint64_t {
    const auto found = config.find(key);
    return found != config.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
  };
  model.n_heads = number("num_attention_heads");
  model.n_kv_heads = number("num_key_value_heads");
  return model;
}

std::vector<std::string> serving_problems(const ServeTarget& target, const WeightScheme& scheme,
                                          const ServedModel& model) {
  const ServingRule* rule = serving_rule_for(target, scheme);
  if (!rule)
    return {std::string("it cannot run ") + scheme.name +
            (scheme.number == WeightNumber::e5m2 ? " of E5M2 numbers" : "") + " in the format " +
            traits(scheme.layout).name + " by itself"};
  Problems problems;
  for (const ServedModel::Module& module : model.modules)
    if (module.quantized && !rule->experts && module.name.find("experts") != std::string::npos)
      problems.add(module.name, "experts in this format are not loaded");
  for (const ServedModel::Module& module : model.modules)
    if (module.quantized)
      check_share(shares_of(target, model, module.name), scheme, *rule, module, problems);
  if (target.engine->fuses) check_fused(scheme, model, problems);
  if (target.n_gpus > 1) check_heads(target, model, problems);
  return problems.lines();
}

std::string nearest_served(const ServeTarget& target, const WeightScheme& scheme,
                           const ServedModel& model) {
  std::vector<ServedSettings> candidates;
  for (const WeightScheme& base : weight_schemes()) add_candidates(scheme, base, candidates);
  std::stable_sort(
      candidates.begin(), candidates.end(),
      [](const ServedSettings& a, const ServedSettings& b) { return a.distance < b.distance; });
  for (const ServedSettings& one : candidates) {
    const bool fits = std::all_of(
        model.modules.begin(), model.modules.end(), [&](const ServedModel::Module& module) {
          return one.scheme.group_size <= 0 ||
                 module.cols % static_cast<std::uint64_t>(one.scheme.group_size) == 0 ||
                 one.scheme.scales != ScalesOf::group;
        });
    if (fits && serving_problems(target, one.scheme, model).empty()) return one.options;
  }
  return {};
}

void check_serving(const ServeTarget& target, const CheckpointPlan& plan) {
  const ServedModel model = served_model(plan);
  const std::vector<std::string> problems = serving_problems(target, plan.scheme, model);
  if (problems.empty()) return;
  std::string text;
  for (const std::string& problem : problems) text += (text.empty() ? "" : "; ") + problem;
  const std::string nearest = nearest_served(target, plan.scheme, model);
  fail(ErrorKind::unsupported, plan.source->name, ": ", target.engine->version,
       " would not serve this checkpoint: ", text,
       nearest.empty() ? "; no scheme works with these settings" : "; the nearest that works: ",
       nearest);
}

}  // namespace lq
