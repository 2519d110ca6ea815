#include "lib/jobs/prune.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "lib/base/error.h"

namespace lq {
namespace {

/// Keys, without the architecture before them, whose lists have a value a layer.
constexpr std::string_view kLayerLists[] = {"attention.head_count", "attention.head_count_kv",
                                            "attention.sliding_window_pattern",
                                            "feed_forward_length", "expert_feed_forward_length"};

/// Where a name has the number of its layer: "blk.N.", not only at the beginning.
struct LayerPlace {
  std::size_t at, size;
  int layer;
};

std::optional<LayerPlace> find_layer(std::string_view name) {
  constexpr std::string_view kMark = "blk.";
  for (std::size_t at = name.find(kMark); at != name.npos; at = name.find(kMark, at + 1)) {
    const char* first = name.data() + at + kMark.size();
    const char* last = name.data() + name.size();
    int layer = 0;
    const auto [end, error] = std::from_chars(first, last, layer);
    if (error == std::errc() && end != last && *end == '.' && *first != '-')
      return LayerPlace{at + kMark.size(), static_cast<std::size_t>(end - first), layer};
  }
  return std::nullopt;
}

template <class T>
void keep_layers(std::vector<T>& values, const std::map<int, int>& numbers) {
  std::vector<T> kept;
  for (const auto& [old, now] : numbers)
    if (static_cast<std::size_t>(old) < values.size())
      kept.push_back(values[static_cast<std::size_t>(old)]);
  values = std::move(kept);
}

}  // namespace

PrunedLayers::PrunedLayers(std::span<const int> layers, std::span<const TensorInfo> tensors) {
  if (layers.empty()) return;
  std::set<int> found;
  for (const TensorInfo& tensor : tensors)
    if (const auto place = find_layer(tensor.name)) found.insert(place->layer);
  for (const int layer : layers)
    if (found.count(layer) == 0)
      fail(ErrorKind::usage, "layer ", layer, " cannot be left out: the model has ",
           found.empty() ? std::string("no layers")
                         : "layers " + std::to_string(*found.begin()) + " to " +
                               std::to_string(*found.rbegin()));
  const int first_out = *std::min_element(layers.begin(), layers.end());
  for (const int layer : found) {
    if (std::find(layers.begin(), layers.end(), layer) != layers.end()) continue;
    numbers_[layer] = layer < first_out ? layer : n_layers_;
    n_layers_ = numbers_[layer] + 1;
  }
  if (numbers_.empty()) fail(ErrorKind::usage, "no layer would be left of the model");
}

std::string PrunedLayers::renamed(const std::string& name) const {
  const auto place = numbers_.empty() ? std::nullopt : find_layer(name);
  if (!place) return name;
  const auto number = numbers_.find(place->layer);
  if (number == numbers_.end()) return {};
  return std::string(name).replace(place->at, place->size, std::to_string(number->second));
}

void PrunedLayers::apply(Metadata& metadata) const {
  if (numbers_.empty()) return;
  const std::string prefix = metadata.string("general.architecture") + ".";
  for (const std::string_view key : kLayerLists) {
    const Value* found = metadata.find(prefix + std::string(key));
    if (!found || found->type != ValueType::array) continue;
    Value value = *found;
    std::visit(
        [&]<class T>(T& held) {
          if constexpr (requires { held.push_back(held.front()); } &&
                        !std::is_same_v<T, std::string>)
            keep_layers(held, numbers_);
        },
        value.data);
    metadata.set(prefix + std::string(key), std::move(value));
  }
  metadata.move_to_end(prefix + "block_count",
                       Value::of_u32(static_cast<std::uint32_t>(n_layers_)));
}

}  // namespace lq
