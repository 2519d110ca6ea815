#include "lib/format/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/json.h"
#include "lib/base/quote.h"
#include "lib/io/byte_reader.h"

namespace lq {
namespace {

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit

struct Storage {
  const char* name;
  unsigned bits;
  std::optional<DType> type;
};

constexpr Storage kStorages[] = {
#define LQ_SAFETENSORS_TYPE(name, bits, type) {#name, bits, DType::type},
#define LQ_SAFETENSORS_FOREIGN(name, bits) {#name, bits, std::nullopt},
#include "lib/format/safetensors_types.def"
#undef LQ_SAFETENSORS_TYPE
#undef LQ_SAFETENSORS_FOREIGN
};

/// One entry of the header with the messages that concern it.
class Entry {
 public:
  Entry(const std::string& file, const std::string& name, const Json& json)
      : file_(file), name_(name), json_(json) {}

  template <class... Parts>
  [[noreturn]] void fault(const Parts&... parts) const {
    fail(ErrorKind::input, file_, ": tensor ", quote(name_), ": ", parts...);
  }

  const Json& member(const char* key) const {
    const auto at = json_.is_object() ? json_.find(key) : json_.end();
    if (at == json_.end()) fault("the header has no ", key);
    return *at;
  }

  const Storage& storage() const {
    const Json& value = member("dtype");
    if (!value.is_string()) fault("dtype is not a string");
    const auto& text = value.get_ref<const std::string&>();
    for (const Storage& storage : kStorages)
      if (text == storage.name) return storage;
    fail(ErrorKind::unsupported, file_, ": tensor ", quote(name_), " is stored as ", quote(text),
         ", which is not known");
  }

  std::vector<std::uint64_t> numbers(const char* key) const {
    const Json& value = member(key);
    std::vector<std::uint64_t> out;
    if (!value.is_array()) fault(key, " is not an array");
    for (const Json& number : value) {
      if (!number.is_number_unsigned()) fault(key, " holds something that is no size");
      out.push_back(number.get<std::uint64_t>());
    }
    return out;
  }

  /// Bytes of a tensor of this shape. Dimensions of 0 are allowed, but no product that wraps.
  std::uint64_t size_of(const Storage& storage, std::span<const std::uint64_t> shape) const {
    std::optional<std::uint64_t> product = storage.bits;
    bool empty = false;
    for (const std::uint64_t dimension : shape) {
      empty = empty || dimension == 0;
      if (product && dimension > 0) product = checked_multiply(*product, dimension);
    }
    if (!product) fault("its shape ", shape_text(shape), " is too large");
    if (*product % 8 != 0) fault("its shape ", shape_text(shape), " does not fill whole bytes");
    return empty ? 0 : *product / 8;
  }

 private:
  const std::string& file_;
  const std::string& name_;
  const Json& json_;
};

struct Range {
  std::uint64_t begin, end;
  std::size_t tensor;
};

SafetensorsTensor parse_entry(const Entry& entry, const std::string& name, Range& range) {
  const Storage& storage = entry.storage();
  auto shape = entry.numbers("shape");
  const auto offsets = entry.numbers("data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    entry.fault("data_offsets is not a range: ", shape_text(offsets));
  const std::uint64_t expected = entry.size_of(storage, shape);
  if (offsets[1] - offsets[0] != expected)
    entry.fault("its data has ", offsets[1] - offsets[0], " bytes; expected ", expected, " for ",
                storage.name, " of shape ", shape_text(shape));
  range.begin = offsets[0];
  range.end = offsets[1];
  std::reverse(shape.begin(), shape.end());
  SafetensorsTensor tensor;
  tensor.info = {name, storage.type.value_or(DType::I8), std::move(shape)};
  tensor.stored = storage.name;
  tensor.foreign = !storage.type;
  return tensor;
}

/// Checks that the ranges cover `n_bytes` without gaps or overlaps.
void check_ranges(std::vector<Range> ranges, const std::vector<SafetensorsTensor>& tensors,
                  std::uint64_t n_bytes, const std::string& file) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = 0;
  for (const Range& range : ranges) {
    const auto& name = tensors[range.tensor].info.name;
    if (range.begin != at)
      fail(ErrorKind::input, file, ": tensor ", quote(name), " begins at byte ", range.begin,
           " of the data; expected ", at);
    if (range.end > n_bytes)
      fail(ErrorKind::input, file, ": truncated: tensor ", quote(name), " ends at byte ", range.end,
           " of the data; the file has ", n_bytes);
    at = range.end;
  }
  if (at != n_bytes)
    fail(ErrorKind::input, file, ": has ", n_bytes - at, " bytes after the last tensor");
}

}  // namespace

std::vector<SafetensorsTensor> parse_safetensors(std::span<const std::byte> bytes,
                                                 const std::string& name) {
  ByteReader in(bytes, name);
  const auto size = in.read<std::uint64_t>("header length");
  if (size > kMaxHeader)
    fail(ErrorKind::input, name, ": is not a safetensors file, or damaged: its header claims ",
         size, " bytes; expected at most ", kMaxHeader);
  const auto text = in.take(size, "header");
  const Json header = parse_json({reinterpret_cast<const char*>(text.data()), text.size()}, name);
  if (!header.is_object()) fail(ErrorKind::input, name, ": its header is not a JSON object");

  const auto data = bytes.subspan(in.position());
  std::vector<SafetensorsTensor> tensors;
  std::vector<Range> ranges;
  for (const auto& [key, value] : header.items()) {  // sorted by name
    if (key == "__metadata__") continue;
    Range range{0, 0, tensors.size()};
    tensors.push_back(parse_entry(Entry(name, key, value), key, range));
    ranges.push_back(range);
  }
  check_ranges(ranges, tensors, data.size(), name);
  for (const Range& range : ranges)
    tensors[range.tensor].data = data.subspan(range.begin, range.end - range.begin);
  return tensors;
}

bool SafetensorsReader::accepts(const SourceProbe& probe) {
  std::uint64_t size = 0;
  if (probe.is_directory || probe.head.size() < sizeof size + 2) return false;
  std::memcpy(&size, probe.head.data(), sizeof size);
  return size >= 2 && size <= kMaxHeader && probe.head[sizeof size] == '{';
}

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path) : name_(path.string()) {
  add_file(path);
  index_tensors(tensors_);
}

SafetensorsReader::SafetensorsReader(std::span<const std::byte> bytes, std::string name)
    : name_(std::move(name)) {
  add(bytes, name_);
  index_tensors(tensors_);
}

void SafetensorsReader::add_file(const std::filesystem::path& path) {
  files_.emplace_back(path);
  paths_.push_back(path);
  add(files_.back().bytes(), path.string());
}

void SafetensorsReader::add(std::span<const std::byte> bytes, const std::string& name) {
  const std::size_t file = files_.empty() ? 0 : files_.size() - 1;
  for (SafetensorsTensor& tensor : parse_safetensors(bytes, name)) {
    tensors_.push_back(std::move(tensor.info));
    details_.push_back({tensor.stored, tensor.foreign, tensor.data, file});
  }
}

std::span<const std::byte> SafetensorsReader::data(std::size_t index) const {
  const Detail& detail = details_[index];
  if (detail.foreign)
    fail(ErrorKind::unsupported, paths_.empty() ? name_ : paths_[detail.file].string(), ": tensor ",
         quote(tensors_[index].name), " is stored as ", detail.stored,
         ", which is not supported here");
  return detail.data;
}

void SafetensorsReader::read(std::size_t index, std::uint64_t offset,
                             std::span<std::byte> into) const {
  const auto part = raw_data(index).subspan(offset, into.size());
  if (files_.empty())
    std::copy(part.begin(), part.end(), into.begin());
  else
    files_[details_[index].file].read(part, into);
}

void SafetensorsReader::release(std::size_t index) const {
  if (!files_.empty()) files_[details_[index].file].release(raw_data(index));
}

}  // namespace lq
