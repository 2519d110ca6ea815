#include "lib/jobs/quantized_folder.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/linear_layouts.h"

namespace lq {
namespace {

/// Bytes of rows that are made at a time.
constexpr std::uint64_t kMadeBytes = 1 << 18;

/// What follows a module's name in the names of its tensors. `matrix`: it is there when the module
/// is quantized. Others are scales of activations and caches.
struct Leaf {
  std::string_view name;
  bool matrix;
};
constexpr Leaf kCompressedLeaves[] = {{"weight_packed", true},
                                      {"weight_scale", true},
                                      {"weight_shape", true},
                                      {"weight_zero_point", true},
                                      {"weight_g_idx", true},
                                      {"weight_global_scale", true},
                                      {"input_global_scale", false},
                                      {"input_zero_point", false},
                                      {"input_scale", false},
                                      {"output_scale", false},
                                      {"output_zero_point", false},
                                      {"k_scale", false},
                                      {"v_scale", false},
                                      {"q_scale", false}};
constexpr Leaf kFp8Leaves[] = {{"weight_scale_inv", true}, {"weight_scale", true},
                               {"input_scale", false},     {"activation_scale", false},
                               {"k_scale", false},         {"v_scale", false}};
constexpr Leaf kGptqLeaves[] = {
    {"qweight", true}, {"qzeros", true}, {"scales", true}, {"g_idx", true}};
constexpr Leaf kBitsandbytesLeaves[] = {{"weight.absmax", true},
                                        {"weight.quant_map", true},
                                        {"weight.nested_absmax", true},
                                        {"weight.nested_quant_map", true},
                                        {"weight.quant_state.bitsandbytes__nf4", true},
                                        {"weight.quant_state.bitsandbytes__fp4", true},
                                        {"SCB", true},
                                        {"weight_format", true}};
constexpr Leaf kModelOptLeaves[] = {{"weight_scale", true},     {"weight_scale_2", true},
                                    {"pre_quant_scale", false}, {"input_scale", false},
                                    {"output_scale", false},    {"k_scale", false},
                                    {"v_scale", false}};

std::span<const Leaf> leaves_of(WeightLayout layout) {
  switch (layout) {
    case WeightLayout::fp8:
      return kFp8Leaves;
    case WeightLayout::gptq:
    case WeightLayout::gptq_v2:
    case WeightLayout::awq:
      return kGptqLeaves;
    case WeightLayout::bitsandbytes:
      return kBitsandbytesLeaves;
    case WeightLayout::modelopt:
      return kModelOptLeaves;
    default:
      return kCompressedLeaves;
  }
}

struct ModuleParts {
  StoredParts parts = {};
  bool quantized = false;
};

/// Modules with tensors that only quantized ones have.
std::map<std::string, ModuleParts> quantized_modules(const SafetensorsReader& stored,
                                                     WeightLayout layout) {
  std::map<std::string, ModuleParts> modules;
  const auto leaves = leaves_of(layout);
  for (std::size_t i = 0; i < stored.tensors().size(); ++i) {
    const std::string_view name = stored.tensors()[i].name;
    for (const Leaf& leaf : leaves) {
      if (!name.ends_with(leaf.name) || name.size() <= leaf.name.size() + 1) continue;
      const std::size_t dot = name.size() - leaf.name.size() - 1;
      if (name[dot] != '.') continue;
      ModuleParts& module = modules[std::string(name.substr(0, dot))];
      module.parts.emplace(leaf.name, i);
      module.quantized = module.quantized || leaf.matrix;
      break;
    }
  }
  for (auto& [name, module] : modules)
    if (const auto weight = stored.find(name + ".weight"); weight && module.quantized)
      module.parts.emplace("weight", *weight);
  return modules;
}

/// The tensor in whose place the matrix stands.
std::size_t place_of(const ModuleParts& module) {
  for (const char* leaf : {"weight", "qweight", "weight_packed"})
    if (const auto at = module.parts.find(leaf); at != module.parts.end()) return at->second;
  return module.parts.begin()->second;
}

}  // namespace

QuantizedFolder::QuantizedFolder(std::unique_ptr<SafetensorsReader> stored,
                                 const StoredSchemes& schemes, Nvfp4As nvfp4)
    : stored_(std::move(stored)), format_("safetensors, " + schemes.text()) {
  enum Place { kFirst, kInPlace, kLast };
  std::map<std::pair<Place, std::size_t>, Entry> ordered;
  std::vector<bool> taken(stored_->tensors().size());
  for (const auto& [name, module] : quantized_modules(*stored_, schemes.layout())) {
    Entry entry{.stored = place_of(module)};
    for (const auto& part : module.parts) {
      taken[part.second] = true;
      entry.parts.push_back(part.second);
    }
    if (!module.quantized) continue;
    const StoredScheme* scheme = schemes.find(name);
    if (!scheme)
      fail(ErrorKind::input, file_name_of(*stored_, entry.stored), ": tensor ",
           quote(stored_->tensors()[entry.stored].name), " is quantized; ", schemes.where(),
           " says that it is not");
    entry.matrix = find_matrix(*stored_, name, *scheme, module.parts, nvfp4);
    const bool is_nvfp4 = entry.matrix->scheme.number == WeightNumber::nvfp4;
    const Place place = is_nvfp4 ? kFirst : module.parts.contains("weight") ? kInPlace : kLast;
    ordered.emplace(std::pair(place, entry.stored), std::move(entry));
  }
  for (std::size_t i = 0; i < taken.size(); ++i) {
    if (taken[i]) continue;
    const std::string& name = stored_->tensors()[i].name;
    if (name.ends_with(".weight") && !traits(stored_->tensors()[i].type).has_codec())
      fail(ErrorKind::input, file_name_of(*stored_, i), ": tensor ", quote(name), " is stored as ",
           stored_->stored_as(i), " and has no scales beside it");
    ordered.emplace(std::pair(kInPlace, i), Entry{.stored = i});
  }
  for (auto& entry : ordered) add(std::move(entry.second));
  made_.resize(tensors_.size());
  index_tensors(tensors_);
}

void QuantizedFolder::add(Entry entry) {
  tensors_.push_back(entry.matrix ? entry.matrix->info() : stored_->tensors()[entry.stored]);
  entries_.push_back(std::move(entry));
}

const StoredMatrix* QuantizedFolder::matrix(std::size_t index) const {
  return entries_[index].matrix ? &*entries_[index].matrix : nullptr;
}

std::size_t QuantizedFolder::file_index(std::size_t index) const {
  return stored_->file_index(entries_[index].stored);
}

ActivationRounding QuantizedFolder::activations(std::size_t index) const {
  const StoredMatrix* of = matrix(index);
  return of ? of->activations : ActivationRounding{};
}

std::vector<std::string> QuantizedFolder::unknown_roundings() const {
  std::set<std::string> found;
  for (const Entry& entry : entries_)
    if (entry.matrix && !entry.matrix->other_activations.empty())
      found.insert(entry.matrix->other_activations);
  return {found.begin(), found.end()};
}

std::span<const std::byte> QuantizedFolder::data(std::size_t index) const {
  if (!matrix(index)) return stored_->data(entries_[index].stored);
  const std::lock_guard lock(mutex_);
  std::vector<std::byte>& made = made_[index];
  if (made.empty()) {
    std::vector<std::byte> bytes(tensors_[index].bytes());
    read(index, 0, bytes);
    made = std::move(bytes);
  }
  return made;
}

std::uint64_t QuantizedFolder::rows_made(std::size_t index) const {
  const StoredMatrix* of = matrix(index);
  if (!of) return 0;
  // Where columns are stored one after the other, fewer rows would read lines of the cache again.
  constexpr std::uint64_t kOfColumns = 128, kOfRows = 32;
  return integers_by_columns(of->scheme) ? kOfColumns : kOfRows;
}

std::uint64_t QuantizedFolder::rows_at_a_time(std::size_t index) const {
  const std::uint64_t of_step = entries_[index].matrix->row_step;
  const std::uint64_t wanted = kMadeBytes / tensors_[index].row_bytes();
  return std::min(tensors_[index].rows(), std::max<std::uint64_t>(1, wanted / of_step) * of_step);
}

std::uint64_t QuantizedFolder::memory_to_read(std::size_t index) const {
  const StoredMatrix* of = matrix(index);
  if (!of) return 0;
  // The rows once more, where only some are wanted; codes, and for a group at most 8 more bytes.
  const std::uint64_t rows = rows_at_a_time(index);
  return rows * tensors_[index].row_bytes() + 2 * rows * of->linear.cols;
}

void QuantizedFolder::read(std::size_t index, std::uint64_t offset,
                           std::span<std::byte> into) const {
  const StoredMatrix* of = matrix(index);
  if (!of) return stored_->read(entries_[index].stored, offset, into);
  const std::uint64_t row_bytes = tensors_[index].row_bytes(), rows = of->linear.rows;
  const std::uint64_t end = offset + into.size();
  const std::uint64_t step = rows_at_a_time(index);
  std::vector<std::byte> beside;  // rows that are not all asked for
  std::uint64_t first = offset / row_bytes / of->row_step * of->row_step;
  for (; first * row_bytes < end; first += step) {
    const std::uint64_t wanted = (end - first * row_bytes - 1) / row_bytes + 1;
    const std::uint64_t whole = (wanted + of->row_step - 1) / of->row_step * of->row_step;
    const std::uint64_t n = std::min({step, whole, rows - first});
    const std::uint64_t begin = first * row_bytes, n_bytes = n * row_bytes;
    if (begin >= offset && begin + n_bytes <= end) {
      of->make_rows(first, n, into.data() + (begin - offset));
      continue;
    }
    beside.resize(std::max<std::size_t>(beside.size(), n_bytes));
    of->make_rows(first, n, beside.data());
    const std::uint64_t from = std::max(begin, offset), to = std::min(begin + n_bytes, end);
    std::memcpy(into.data() + (from - offset), beside.data() + (from - begin), to - from);
  }
  if (end == tensors_[index].bytes())  // read to its end: pages are not needed any more
    for (const std::size_t part : entries_[index].parts) stored_->release(part);
}

void QuantizedFolder::release(std::size_t index) const {
  if (!matrix(index)) return stored_->release(entries_[index].stored);
  for (const std::size_t part : entries_[index].parts) stored_->release(part);
  const std::lock_guard lock(mutex_);
  made_[index] = std::vector<std::byte>();  // = {} would keep the memory
}

}  // namespace lq
