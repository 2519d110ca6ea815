#pragma once
// Which storage type each tensor of a model gets. The rules are rows of recipes.def; nothing here
// touches files.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/format/metadata.h"
#include "lib/format/tensor.h"

namespace lq {

/// A file type: a row of recipes.def.
struct Recipe {
  const char* name;         ///< "Q4_K_M"
  std::uint32_t file_type;  ///< as stored under general.file_type
  DType type;               ///< of everything that no rule names
  DType output;             ///< of output.weight, or of the token embedding when it is used as such
  DType embedding;          ///< of a token embedding beside an output of its own
  bool needs_importance;    ///< gives most matrices a type that demands it

  bool quantizes() const;  ///< whether `type` is one that the rules apply to: not F32, F16, BF16
};

std::span<const Recipe> recipes();

/// By name or alias (case does not matter) or by the number of the file type; null when there is
/// none.
const Recipe* find_recipe(std::string_view name);

/// Whether every type that the recipe may give has a codec. Fallbacks not counted.
bool has_codecs(const Recipe& recipe);

/// Names of the recipes that can be made: all codecs are there.
std::vector<std::string> usable_recipe_names();

/// Whether a tensor of `type` in a file of this recipe is only made with importance: what so few
/// bits make of it is of no use otherwise. Never of the embedding and the output.
bool demands_importance(const Recipe& recipe, std::string_view tensor, DType type);

/// What the rules ask about a model.
struct RecipeFacts {
  std::string architecture;
  int n_layers = 0;
  int n_heads = 0, n_kv_heads = 0;  ///< of the first layer
  int n_experts = 0;
  bool importance = false;  ///< whether there is an importance matrix

  /// Throws Error(input) when general.architecture or the number of layers is missing or absurd.
  static RecipeFacts parse(const Metadata& metadata);
};

/// Tensors whose name holds a match of `regex` (ECMAScript, lower case) get `type`.
struct TypePattern {
  std::string regex;
  DType type;
};

/// What the user wants otherwise than the recipe.
struct TypeWishes {
  bool pure = false;          ///< the recipe's default type for everything
  bool leave_output = false;  ///< output.weight stays as it is
  std::optional<DType> output = {}, embedding = {};
  std::vector<TypePattern> patterns = {};  ///< the first that matches counts
};

struct TypeDecision {
  DType wanted, type;  ///< differ when rows are not whole blocks of the wanted type
  std::string reason;
};

/// One decision for each tensor. The tensors are in output order (quantized_order()), because rules
/// count those of a kind. Throws Error(usage) for a bad pattern, Error(unsupported) when no type
/// fits a tensor's rows, Error(input) when the layer of an expert tensor cannot be told.
std::vector<TypeDecision> choose_types(const Recipe& recipe, const RecipeFacts& facts,
                                       const TypeWishes& wishes,
                                       std::span<const TensorInfo> tensors);

/// Indices of the tensors as a quantized file has them: by layer (those outside of layers first),
/// then by name.
std::vector<std::size_t> quantized_order(std::span<const TensorInfo> tensors);

}  // namespace lq
