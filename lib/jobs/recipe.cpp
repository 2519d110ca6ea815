#include "lib/jobs/recipe.h"

#include <algorithm>
#include <numeric>
#include <regex>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

/// What a tensor is for. `any` stands for every role in the rules.
enum class Role {
  output,
  embedding,
  value,
  key,
  query,
  attention_output,
  up,
  gate,
  down,
  other,
  any
};
constexpr int kRoleCount = static_cast<int>(Role::any);

struct RecipeRows {
  static constexpr bool nothing = false, importance = true;  // the last column of recipes.def
  static constexpr Recipe rows[] = {
#define LQ_RECIPE(name, file_type, type, output, embedding, needs) \
  {#name, file_type, DType::type, DType::output, DType::embedding, needs},
#include "lib/jobs/recipes.def"
#undef LQ_RECIPE
  };
};
constexpr auto& kRecipes = RecipeRows::rows;

enum class RecipeId {
#define LQ_RECIPE(name, file_type, type, output, embedding, needs) name,
#include "lib/jobs/recipes.def"
#undef LQ_RECIPE
  ANY
};

struct Alias {
  std::string_view name, recipe;
};
constexpr Alias kAliases[] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};

/// A tensor as the rules see it.
struct Site {
  int gqa = 0;  ///< query heads a key head; 0 without key heads
  int n_experts = 0;
  bool falcon = false;      ///< the architecture of that name
  bool is_70b = false;      ///< many layers, few attention values
  bool importance = false;  ///< there is an importance matrix
  bool stacked = false;     ///< matrices of several experts in one tensor
  int nth = 0;              ///< how many tensors of its role come before it
  int layer = 0;            ///< its layer; as `nth` in models without experts, and for `value`
  int n = 0;                ///< the layers of the model; for `value`: tensors of that role

  /// Layers near either end, and every third between.
  bool more_bits() const { return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2; }
};

struct Rule {
  RecipeId recipe;
  Role role;
  bool (*applies)(const Site& s);
  DType type;
};

constexpr Rule kRules[] = {
#define LQ_RULE(recipe, role, condition, type)                                             \
  {RecipeId::recipe, Role::role, []([[maybe_unused]] const Site& s) { return condition; }, \
   DType::type},
#include "lib/jobs/recipe_rules.def"
#undef LQ_RULE
};

/// Types for rows that are not whole blocks of the wanted one. If they are not whole blocks of the
/// second either: F16.
struct Fallback {
  DType wanted, instead;
};
constexpr Fallback kFallbacks[] = {
    {DType::IQ1_S, DType::IQ4_NL},  {DType::IQ1_M, DType::IQ4_NL},  {DType::IQ2_XXS, DType::IQ4_NL},
    {DType::IQ2_XS, DType::IQ4_NL}, {DType::IQ2_S, DType::IQ4_NL},  {DType::IQ3_XXS, DType::IQ4_NL},
    {DType::IQ3_S, DType::IQ4_NL},  {DType::IQ4_XS, DType::IQ4_NL}, {DType::Q2_0, DType::Q4_0},
    {DType::Q2_K, DType::Q4_0},     {DType::Q3_K, DType::Q4_0},     {DType::TQ1_0, DType::Q4_0},
    {DType::TQ2_0, DType::Q4_0},    {DType::Q4_K, DType::Q5_0},     {DType::Q5_K, DType::Q5_1},
    {DType::Q6_K, DType::Q8_0},
};

enum class Match { equals, contains };

bool matches(Match match, std::string_view text, std::string_view name) {
  return match == Match::equals ? name == text : name.find(text) != std::string_view::npos;
}

/// Roles by name; the first row that matches counts.
struct RoleName {
  Role role;
  Match match;
  std::string_view text;
};
constexpr RoleName kRoleNames[] = {
    {Role::output, Match::equals, "output.weight"},
    {Role::embedding, Match::equals, "token_embd.weight"},
    {Role::embedding, Match::equals, "per_layer_token_embd.weight"},
    {Role::value, Match::contains, "attn_qkv.weight"},
    {Role::value, Match::contains, "attn_kv_b.weight"},
    {Role::value, Match::contains, "attn_v.weight"},
    {Role::key, Match::contains, "attn_k.weight"},
    {Role::query, Match::contains, "attn_q.weight"},
    {Role::attention_output, Match::contains, "attn_output.weight"},
    {Role::up, Match::contains, "ffn_up"},
    {Role::gate, Match::contains, "ffn_gate"},
    {Role::down, Match::contains, "ffn_down"},
};

constexpr std::string_view kRoleTexts[] = {
    "the output",
    "the token embedding",
    "attention values",
    "attention keys",
    "attention queries",
    "the attention output",
    "ffn_up",
    "ffn_gate",
    "ffn_down",
    "other",
};
static_assert(std::size(kRoleTexts) == kRoleCount);

/// Tensors that stay as they are although they are matrices of weights.
struct Kept {
  Match match;
  std::string_view text;
  const char* why;
};
constexpr Kept kKept[] = {
    {Match::contains, "_norm.weight", "a norm"},
    {Match::contains, "ffn_gate_inp.weight", "chooses the experts"},
    {Match::contains, "ffn_gate_tid2eid.weight", "chooses the experts"},
    {Match::equals, "position_embd.weight", "positions"},
    {Match::equals, "token_types.weight", "token types"},
    {Match::contains, "altup", "small"},
    {Match::contains, "laurel", "small"},
    {Match::contains, "per_layer_model_proj", "small"},
    {Match::contains, "ssm_conv1d", "a convolution"},
    {Match::contains, "shortconv.conv.weight", "a convolution"},
    {Match::contains, "indexer.k_proj.weight", "small"},
    {Match::contains, "indexer.q_proj.weight", "small"},
    {Match::contains, "time_mix_first.weight", "small"},
    {Match::contains, "time_mix_w0.weight", "small"},
    {Match::contains, "time_mix_w1.weight", "small"},
    {Match::contains, "time_mix_w2.weight", "small"},
    {Match::contains, "time_mix_v0.weight", "small"},
    {Match::contains, "time_mix_v1.weight", "small"},
    {Match::contains, "time_mix_v2.weight", "small"},
    {Match::contains, "time_mix_a0.weight", "small"},
    {Match::contains, "time_mix_a1.weight", "small"},
    {Match::contains, "time_mix_a2.weight", "small"},
    {Match::contains, "time_mix_g1.weight", "small"},
    {Match::contains, "time_mix_g2.weight", "small"},
    {Match::contains, "time_mix_decay_w1.weight", "small"},
    {Match::contains, "time_mix_decay_w2.weight", "small"},
    {Match::contains, "time_mix_lerp_fused.weight", "small"},
    {Match::contains, "attn_rel_b.weight", "relative positions"},
    {Match::contains, ".position_embd", "positions"},
    {Match::contains, "sam.pos_embd", "positions"},
    {Match::contains, "sam.neck.", "an image encoder"},
    {Match::contains, "sam.net_", "an image encoder"},
    {Match::contains, ".rel_pos", "relative positions"},
    {Match::contains, ".patch_embd", "image patches"},
    {Match::contains, ".patch_merger", "image patches"},
    {Match::contains, "a.rvq.codebook", "an audio codebook"},
    {Match::contains, "mm.a.code_embd", "an audio codebook"},
};

constexpr std::string_view kWeight = "weight";

Role role_of(std::string_view name) {
  for (const RoleName& row : kRoleNames)
    if (matches(row.match, row.text, name)) return row.role;
  return Role::other;
}

/// Why a tensor stays as it is; empty: it may be quantized.
std::string reason_to_keep(const TensorInfo& tensor, const TypeWishes& wishes) {
  const std::string_view name = tensor.name;
  if (trimmed_shape(tensor.shape).size() < 2) return "kept: one dimension";
  if (name.size() < kWeight.size() || name.substr(name.size() - kWeight.size()) != kWeight)
    return "kept: not a weight";
  if (wishes.leave_output && role_of(name) == Role::output) return "kept: --leave-output-tensor";
  for (const Kept& row : kKept)
    if (matches(row.match, row.text, name)) return std::string("kept: ") + row.why;
  return {};
}

bool fits(const TensorInfo& tensor, DType type) {
  return tensor.row_length() % static_cast<std::uint64_t>(traits(type).values) == 0;
}

struct CompiledPattern {
  std::regex regex;
  const TypePattern* source;
};

std::vector<CompiledPattern> compile(std::span<const TypePattern> patterns) {
  std::vector<CompiledPattern> compiled;
  for (const TypePattern& pattern : patterns) {
    try {
      compiled.push_back({std::regex(pattern.regex), &pattern});
    } catch (const std::regex_error& error) {
      fail(ErrorKind::usage, "pattern ", quote(pattern.regex), ": ", error.what());
    }
  }
  return compiled;
}

/// Models whose few attention values are worth more bits.
bool is_70b(const RecipeFacts& facts) {
  const std::string& arch = facts.architecture;
  if (facts.n_layers == 80)
    return (arch == "llama" && facts.n_heads != facts.n_kv_heads) || arch == "qwen2" ||
           arch == "deci" || arch == "olmo";
  return facts.n_layers == 68 && arch == "jais2";
}

/// Decides for one tensor after the other; keeps count of what came before.
class Chooser {
 public:
  Chooser(const Recipe& recipe, const RecipeFacts& facts, const TypeWishes& wishes,
          std::span<const TensorInfo> tensors)
      : recipe_(recipe),
        id_(static_cast<RecipeId>(&recipe - kRecipes)),
        facts_(facts),
        wishes_(wishes),
        patterns_(compile(wishes.patterns)) {
    for (const TensorInfo& tensor : tensors) {
      const Role role = role_of(tensor.name);
      if (role == Role::value) ++n_values_;
      if (role == Role::output) tied_ = false;
    }
  }

  TypeDecision choose(const TensorInfo& tensor) {
    if (const std::string why = reason_to_keep(tensor, wishes_); !why.empty())
      return {tensor.type, tensor.type, why};
    const Role role = role_of(tensor.name);
    if (wishes_.embedding && role == Role::embedding)
      return as_wished(tensor, *wishes_.embedding, "--token-embedding-type");
    if (wishes_.output && role == Role::output)
      return as_wished(tensor, *wishes_.output, "--output-tensor-type");
    if (!recipe_.quantizes()) return {recipe_.type, recipe_.type, "recipe"};
    for (const CompiledPattern& pattern : patterns_)
      if (std::regex_search(tensor.name, pattern.regex))
        return fitting(tensor, pattern.source->type, "--tensor-type " + pattern.source->regex);
    if (wishes_.pure) return fitting(tensor, recipe_.type, "--pure");
    return by_recipe(tensor, role);
  }

 private:
  static TypeDecision as_wished(const TensorInfo& tensor, DType type, const char* option) {
    if (!fits(tensor, type))
      fail(ErrorKind::unsupported, "tensor ", quote(tensor.name), ": rows of ", tensor.row_length(),
           " values are not a multiple of ", traits(type).values, ", which ", option, " ",
           traits(type).name, " needs");
    return {type, type, option};
  }

  /// The wanted type, or what takes its place when rows are not whole blocks.
  static TypeDecision fitting(const TensorInfo& tensor, DType wanted, std::string reason) {
    if (fits(tensor, wanted)) return {wanted, wanted, std::move(reason)};
    const auto row = std::find_if(std::begin(kFallbacks), std::end(kFallbacks),
                                  [&](const Fallback& f) { return f.wanted == wanted; });
    if (row == std::end(kFallbacks))
      fail(ErrorKind::unsupported, "tensor ", quote(tensor.name), ": rows of ", tensor.row_length(),
           " values are not a multiple of ", traits(wanted).values, ", which ", traits(wanted).name,
           " needs; give it another type with --tensor-type");
    const DType type = fits(tensor, row->instead) ? row->instead : DType::F16;
    const bool asked = reason.substr(0, 13) == "--tensor-type";
    return {wanted, type,
            (asked ? reason + ": " : "") + "rows of " + std::to_string(tensor.row_length()) +
                " are not a multiple of " +
                std::to_string(traits(type == DType::F16 ? row->instead : wanted).values)};
  }

  TypeDecision by_recipe(const TensorInfo& tensor, Role role) {
    if (role == Role::output || (role == Role::embedding && tied_)) return by_output(tensor);
    if (role == Role::embedding) return fitting(tensor, recipe_.embedding, "recipe");
    const Site site = make_site(tensor, role);
    for (const Rule& rule : kRules) {
      const bool meant = (rule.recipe == id_ || rule.recipe == RecipeId::ANY) &&
                         (rule.role == role || rule.role == Role::any);
      if (meant && rule.applies(site))
        return fitting(tensor, rule.type,
                       "recipe: " + std::string(kRoleTexts[static_cast<int>(role)]));
    }
    return fitting(tensor, recipe_.type, "recipe");
  }

  /// For what the logits are computed with.
  TypeDecision by_output(const TensorInfo& tensor) const {
    if (wishes_.output) return fitting(tensor, *wishes_.output, "--output-tensor-type");
    if (facts_.architecture == "falcon") return fitting(tensor, DType::Q8_0, "recipe: the output");
    if (fits(tensor, recipe_.type)) return fitting(tensor, recipe_.output, "recipe: the output");
    TypeDecision decision = fitting(tensor, DType::Q8_0, "");
    decision.wanted = recipe_.output;
    decision.reason = "rows of " + std::to_string(tensor.row_length()) + " are not a multiple of " +
                      std::to_string(traits(recipe_.type).values);
    return decision;
  }

  Site make_site(const TensorInfo& tensor, Role role) {
    Site site;
    site.gqa = facts_.n_kv_heads > 0 ? facts_.n_heads / facts_.n_kv_heads : 0;
    site.n_experts = facts_.n_experts;
    site.falcon = facts_.architecture == "falcon";
    site.is_70b = is_70b(facts_);
    site.importance = facts_.importance;
    site.stacked = tensor.shape.size() > 2 && tensor.shape[2] > 1;
    site.nth = counts_[static_cast<int>(role)]++;
    site.layer = site.nth;
    site.n = role == Role::value ? n_values_ : facts_.n_layers;
    const bool feed_forward = role == Role::up || role == Role::gate || role == Role::down;
    if (!feed_forward || facts_.n_experts <= 1) return site;
    site.layer = layer_of(tensor.name);
    if (site.layer < 0 || site.layer >= site.n)
      fail(ErrorKind::input, "tensor ", quote(tensor.name),
           " belongs to no layer; expected a name ", "from blk.0. to blk.", site.n - 1, ".");
    return site;
  }

  const Recipe& recipe_;
  const RecipeId id_;
  const RecipeFacts& facts_;
  const TypeWishes& wishes_;
  const std::vector<CompiledPattern> patterns_;
  bool tied_ = true;  ///< the token embedding is the output's matrix, too
  int n_values_ = 0;
  int counts_[kRoleCount] = {};  ///< tensors so far, by role
};

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

/// A number of the first layer: models may store one for each.
int first_of(const Metadata& metadata, const std::string& key, int otherwise) {
  constexpr std::int64_t kMost = 1 << 24;
  const Value* value = metadata.find(key);
  if (!value) return otherwise;
  if (value->type != ValueType::array)
    return static_cast<int>(*metadata.find_integer(key, 0, kMost));
  const auto numbers = metadata.find_integers(key);
  if (!numbers || numbers->empty()) return otherwise;
  const std::int64_t first = numbers->front();
  if (first < 0 || first > kMost)
    fail(ErrorKind::input, metadata.file_name(), ": key ", quote(key), " begins with ", first,
         "; expected 0 to ", kMost);
  return static_cast<int>(first);
}

}  // namespace

bool Recipe::quantizes() const { return traits(type).values > 1; }

std::span<const Recipe> recipes() { return kRecipes; }

const Recipe* find_recipe(std::string_view name) {
  std::string wanted = lower(name);
  for (const Alias& alias : kAliases)
    if (wanted == lower(alias.name)) wanted = lower(alias.recipe);
  for (const Recipe& recipe : kRecipes)
    if (wanted == lower(recipe.name) || wanted == std::to_string(recipe.file_type)) return &recipe;
  return nullptr;
}

bool has_codecs(const Recipe& recipe) {
  const auto id = static_cast<RecipeId>(&recipe - kRecipes);
  for (const DType type : {recipe.type, recipe.output, recipe.embedding})
    if (!traits(type).has_codec()) return false;
  return std::all_of(std::begin(kRules), std::end(kRules), [id](const Rule& rule) {
    return rule.recipe != id || traits(rule.type).has_codec();
  });
}

std::vector<std::string> usable_recipe_names() {
  std::vector<std::string> names;
  for (const Recipe& recipe : kRecipes)
    if (has_codecs(recipe)) names.emplace_back(recipe.name);
  return names;
}

bool demands_importance(const Recipe& recipe, std::string_view tensor, DType type) {
  if (tensor == "output.weight" || tensor == "token_embd.weight" ||
      tensor == "per_layer_token_embd.weight")
    return false;
  switch (type) {
    case DType::IQ1_S:
    case DType::IQ1_M:
    case DType::IQ2_XXS:
    case DType::IQ2_XS:
    case DType::IQ2_S:
    case DType::IQ3_XXS:
      return true;
    case DType::Q2_K:  // a smaller mixture than the one that does without
      return &recipe == &kRecipes[static_cast<int>(RecipeId::Q2_K_S)];
    default:
      return false;
  }
}

RecipeFacts RecipeFacts::parse(const Metadata& metadata) {
  RecipeFacts facts;
  facts.architecture = metadata.string("general.architecture");
  const std::string prefix = facts.architecture + ".";
  facts.n_layers =
      static_cast<int>(metadata.find_integer(prefix + "block_count", 0, 1 << 20).value_or(0));
  facts.n_heads = first_of(metadata, prefix + "attention.head_count", 0);
  facts.n_kv_heads = first_of(metadata, prefix + "attention.head_count_kv", facts.n_heads);
  facts.n_experts = first_of(metadata, prefix + "expert_count", 0);
  return facts;
}

std::vector<TypeDecision> choose_types(const Recipe& recipe, const RecipeFacts& facts,
                                       const TypeWishes& wishes,
                                       std::span<const TensorInfo> tensors) {
  Chooser chooser(recipe, facts, wishes, tensors);
  std::vector<TypeDecision> decisions;
  for (const TensorInfo& tensor : tensors) decisions.push_back(chooser.choose(tensor));
  return decisions;
}

std::vector<std::size_t> quantized_order(std::span<const TensorInfo> tensors) {
  std::vector<int> layers;
  for (const TensorInfo& tensor : tensors) layers.push_back(layer_of(tensor.name));
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return layers[a] != layers[b] ? layers[a] < layers[b] : tensors[a].name < tensors[b].name;
  });
  return order;
}

}  // namespace lq
