#include "lib/format/gguf_reader.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <unordered_set>

#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_layout.h"
#include "lib/io/byte_reader.h"

namespace lq {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr std::uint64_t kMaxString = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxArray = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxSize = std::numeric_limits<std::int64_t>::max();
/// Least bytes of a key-value pair: key of one byte, type, one byte of value.
constexpr std::uint64_t kLeastPair = 8 + 1 + 4 + 1;
/// Least bytes of a tensor info: empty name, n_dims, type, offset.
constexpr std::uint64_t kLeastTensor = 8 + 4 + 4 + 8;

template <class... Parts>
[[noreturn]] void fail_here(const ByteReader& in, const Parts&... parts) {
  fail(ErrorKind::input, in.name(), ": at byte ", in.position(), ": ", parts...);
}

std::string_view read_string(ByteReader& in, const char* field) {
  const auto size = in.read<std::uint64_t>(field);
  if (size > kMaxString)
    fail_here(in, field, " claims ", size, " bytes; expected at most ", kMaxString);
  const auto bytes = in.take(size, field);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ValueType read_type(ByteReader& in, std::string_view key) {
  const auto number = in.read<std::uint32_t>("value type");
  if (number > static_cast<std::uint32_t>(ValueType::f64))
    fail_here(in, "key ", quote(key), " has value type ", number, "; expected 0 to 12");
  return static_cast<ValueType>(number);
}

/// A number stored as Stored; whole arrays of them as vectors of Kept.
template <class Stored, class Kept>
Value::Data read_scalar(ByteReader& in) {
  return static_cast<Kept>(in.read<Stored>("value"));
}

template <class Stored, class Kept>
Value::Data read_numbers(std::span<const std::byte> bytes) {
  std::vector<Kept> out(bytes.size() / sizeof(Stored));
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    out[i] = static_cast<Kept>(value);
  }
  return out;
}

Value::Data read_booleans(std::span<const std::byte> bytes) {
  std::vector<std::int64_t> out(bytes.size());
  std::transform(bytes.begin(), bytes.end(), out.begin(),
                 [](std::byte b) { return b != std::byte{0}; });
  return out;
}

Value::Data read_strings(ByteReader& in, std::uint64_t count) {
  std::vector<std::string> out;
  out.reserve(count);  // at most an eighth of what is left of the file: every string has a length
  for (std::uint64_t i = 0; i < count; ++i) out.emplace_back(read_string(in, "string in array"));
  return out;
}

Value read_array(ByteReader& in, std::string_view key) {
  const ValueType element = read_type(in, key);
  if (element == ValueType::array)
    fail_here(in, "key ", quote(key), " is an array of arrays, which GGUF does not allow");
  const auto count = in.read<std::uint64_t>("array length");
  const std::uint64_t size = element == ValueType::string ? 8 : stored_bytes(element);
  if (count > kMaxArray || count > in.left() / size)
    fail_here(in, "key ", quote(key), " claims ", count, " elements of ", name_of(element),
              "; the rest of the file has room for ", in.left() / size);
  Value value{.type = ValueType::array, .element = element, .data = {}};
  if (element == ValueType::string) {
    value.data = read_strings(in, count);
    return value;
  }
  const auto bytes = in.take(count * size, "array");
  switch (element) {
    case ValueType::u8:
      value.data = read_numbers<std::uint8_t, std::int64_t>(bytes);
      break;
    case ValueType::i8:
      value.data = read_numbers<std::int8_t, std::int64_t>(bytes);
      break;
    case ValueType::u16:
      value.data = read_numbers<std::uint16_t, std::int64_t>(bytes);
      break;
    case ValueType::i16:
      value.data = read_numbers<std::int16_t, std::int64_t>(bytes);
      break;
    case ValueType::u32:
      value.data = read_numbers<std::uint32_t, std::int64_t>(bytes);
      break;
    case ValueType::i32:
      value.data = read_numbers<std::int32_t, std::int64_t>(bytes);
      break;
    case ValueType::i64:
      value.data = read_numbers<std::int64_t, std::int64_t>(bytes);
      break;
    case ValueType::u64:
      value.data = read_numbers<std::uint64_t, std::uint64_t>(bytes);
      break;
    case ValueType::f32:
      value.data = read_numbers<float, float>(bytes);
      break;
    case ValueType::f64:
      value.data = read_numbers<double, double>(bytes);
      break;
    default:
      value.data = read_booleans(bytes);
      break;
  }
  return value;
}

Value read_value(ByteReader& in, std::string_view key) {
  const ValueType type = read_type(in, key);
  if (type == ValueType::array) return read_array(in, key);
  Value value{.type = type, .element = ValueType::u32, .data = {}};
  switch (type) {
    case ValueType::u8:
      value.data = read_scalar<std::uint8_t, std::int64_t>(in);
      break;
    case ValueType::i8:
      value.data = read_scalar<std::int8_t, std::int64_t>(in);
      break;
    case ValueType::u16:
      value.data = read_scalar<std::uint16_t, std::int64_t>(in);
      break;
    case ValueType::i16:
      value.data = read_scalar<std::int16_t, std::int64_t>(in);
      break;
    case ValueType::u32:
      value.data = read_scalar<std::uint32_t, std::int64_t>(in);
      break;
    case ValueType::i32:
      value.data = read_scalar<std::int32_t, std::int64_t>(in);
      break;
    case ValueType::i64:
      value.data = read_scalar<std::int64_t, std::int64_t>(in);
      break;
    case ValueType::u64:
      value.data = read_scalar<std::uint64_t, std::uint64_t>(in);
      break;
    case ValueType::f32:
      value.data = read_scalar<float, double>(in);
      break;
    case ValueType::f64:
      value.data = read_scalar<double, double>(in);
      break;
    case ValueType::boolean:
      value.data = in.read<std::uint8_t>("value") != 0;
      break;
    default:
      value.data = std::string(read_string(in, "value"));
      break;
  }
  return value;
}

std::uint32_t read_version(ByteReader& in) {
  if (std::memcmp(in.take(kMagic.size(), "magic").data(), kMagic.data(), kMagic.size()) != 0)
    fail(ErrorKind::input, in.name(), ": is not a GGUF file: it does not start with \"GGUF\"");
  const auto version = in.read<std::uint32_t>("version");
  if (version == 2 || version == 3) return version;
  if (version == 1)
    fail(ErrorKind::unsupported, in.name(),
         ": is GGUF version 1, which is no longer in use; convert the original model again");
  if (version != 0 && (version & 0xffff) == 0)
    fail(ErrorKind::unsupported, in.name(),
         ": is a GGUF file for big-endian machines; expected little-endian");
  if (version > 3)
    fail(ErrorKind::unsupported, in.name(), ": is GGUF version ", version,
         ", which is newer than this program; expected 2 or 3");
  fail(ErrorKind::input, in.name(), ": GGUF version ", version, "; expected 2 or 3");
}

/// A count that the rest of the file has room for.
std::uint64_t read_count(ByteReader& in, const char* what, std::uint64_t least_bytes) {
  const auto count = in.read<std::uint64_t>(what);
  if (count > in.left() / least_bytes)
    fail_here(in, "the file claims ", count, " ", what, "; it has room for ",
              in.left() / least_bytes);
  return count;
}

void read_metadata(ByteReader& in, std::uint64_t count, Metadata& metadata) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view key = read_string(in, "key");
    if (key.empty()) fail_here(in, "key number ", i, " is empty");
    if (metadata.has(key)) fail_here(in, "key ", quote(key), " appears twice");
    metadata.set(key, read_value(in, key));
  }
}

/// Reads the dimensions and checks that their product and the tensor's size fit.
std::vector<std::uint64_t> read_shape(ByteReader& in, const std::string& name) {
  const auto n_dims = in.read<std::uint32_t>("number of dimensions");
  if (n_dims > kGgufMaxDims)
    fail_here(in, "tensor ", quote(name), " has ", n_dims, " dimensions; expected at most ",
              kGgufMaxDims);
  std::vector<std::uint64_t> shape(n_dims);
  std::uint64_t product = 1;
  for (auto& dimension : shape) {
    dimension = in.read<std::uint64_t>("dimension");
    const auto next = checked_multiply(product, dimension);
    if (dimension == 0 || dimension > kMaxSize || !next || *next > kMaxSize)
      fail_here(in, "tensor ", quote(name), " has the dimension ",
                static_cast<std::int64_t>(dimension),
                "; expected at least 1 and a product that fits in 63 bits");
    product = *next;
  }
  return shape;
}

DType read_dtype(ByteReader& in, const std::string& name) {
  const auto number = in.read<std::uint32_t>("storage type");
  const auto type = dtype_of_gguf(number);
  if (!type)
    fail(ErrorKind::unsupported, in.name(), ": at byte ", in.position(), ": tensor ", quote(name),
         " has storage type ", number, ", which is not known");
  return *type;
}

/// One tensor and its offset within the data section.
std::pair<TensorInfo, std::uint64_t> read_tensor(ByteReader& in) {
  TensorInfo tensor;
  tensor.name = read_string(in, "tensor name");
  if (tensor.name.size() > kGgufMaxName)
    fail_here(in, "tensor name ", quote(tensor.name), " has ", tensor.name.size(),
              " bytes; expected at most ", kGgufMaxName);
  tensor.shape = read_shape(in, tensor.name);
  tensor.type = read_dtype(in, tensor.name);
  const auto& facts = traits(tensor.type);
  if (tensor.row_length() % static_cast<std::uint64_t>(facts.values) != 0)
    fail_here(in, "tensor ", quote(tensor.name), " has rows of ", tensor.row_length(),
              " values; expected a multiple of ", facts.values, " for ", facts.name);
  const std::uint64_t blocks = tensor.elements() / static_cast<std::uint64_t>(facts.values);
  const auto bytes = checked_multiply(blocks, facts.bytes);
  if (!bytes || *bytes > kMaxSize)
    fail_here(in, "tensor ", quote(tensor.name), " of shape ", shape_text(tensor.shape),
              " is too large");
  return {std::move(tensor), in.read<std::uint64_t>("tensor offset")};
}

/// Reads the tensor infos and gives each its bytes: one after the other, aligned, without gaps.
void read_tensors(ByteReader& in, std::uint64_t count, std::span<const std::byte> bytes,
                  GgufHeader& header) {
  std::vector<std::uint64_t> offsets;
  std::uint64_t expected = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    auto [tensor, offset] = read_tensor(in);
    if (offset != expected)
      fail_here(in, "tensor ", quote(tensor.name), " has the data offset ", offset, "; expected ",
                expected);
    const auto end = checked_add(offset, tensor.bytes());
    const auto padded = end ? checked_align(*end, header.alignment) : std::nullopt;
    if (!padded) fail_here(in, "tensor ", quote(tensor.name), " ends beyond 64 bits");
    offsets.push_back(offset);
    expected = *padded;
    header.tensors.push_back(std::move(tensor));
  }
  if (count == 0) return;
  // Cannot overflow: the position is within the file and an alignment has 32 bits.
  const std::uint64_t start = *checked_align(in.position(), header.alignment);
  const std::uint64_t room = start < bytes.size() ? bytes.size() - start : 0;
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    const TensorInfo& tensor = header.tensors[i];
    if (offsets[i] > room || tensor.bytes() > room - offsets[i])
      fail(ErrorKind::input, in.name(), ": truncated: tensor ", quote(tensor.name), " needs ",
           tensor.bytes(), " bytes from byte ", start, " + ", offsets[i], "; the file has ",
           bytes.size(), " bytes");
    header.data.push_back(bytes.subspan(start + offsets[i], tensor.bytes()));
  }
}

/// A name of the form PREFIX-00002-of-00005SUFFIX.
struct PartName {
  std::string prefix, suffix;

  std::string of(std::uint64_t index, std::uint64_t count) const {
    return prefix + gguf_part_mark(index, count) + suffix;
  }
};

std::optional<PartName> part_name(const std::string& file, std::uint64_t count) {
  const std::string of = gguf_part_mark(0, count).substr(6);  // "-of-00005"
  const auto at = file.rfind(of);
  if (at == file.npos || at < 6 || file[at - 6] != '-') return std::nullopt;
  if (file.find_first_not_of("0123456789", at - 5) != at) return std::nullopt;
  return PartName{file.substr(0, at - 6), file.substr(at + of.size())};
}

constexpr std::int64_t kMaxParts = 65535;
constexpr std::int64_t kMaxTensors = std::numeric_limits<std::int32_t>::max();

std::int64_t part_count(const Metadata& metadata) {
  return metadata.find_integer(kGgufPartCountKey, 0, kMaxParts).value_or(0);
}

/// Whether a part says that it is number `i` of `count` of the model that the first part is of.
/// `first` is empty when this is the first.
void check_part(const Metadata& part, std::int64_t i, std::int64_t count, const Metadata& first) {
  const auto number = part.find_integer(kGgufPartKey, 0, kMaxParts);
  if (!number || part_count(part) == 0)
    fail(ErrorKind::input, part.file_name(), ": is not a part of a model; expected part ", i + 1,
         " of ", count);
  if (*number != i || part_count(part) != count)
    fail(ErrorKind::input, part.file_name(), ": says that it is part ", *number + 1, " of ",
         part_count(part), "; expected part ", i + 1, " of ", count);
  if (i == 0) return;
  const auto total = part.find_integer(kGgufPartTensorsKey, 0, kMaxTensors);
  const auto expected = first.find_integer(kGgufPartTensorsKey, 0, kMaxTensors);
  if (total != expected)
    fail(ErrorKind::input, part.file_name(), ": is a part of a model with ", total.value_or(0),
         " tensors; the first part is of one with ", expected.value_or(0));
  for (const char* key : {"general.architecture", "general.name"})
    if (const Value* value = part.find(key); value && first.find(key) && *value != *first.find(key))
      fail(ErrorKind::input, part.file_name(), ": its ", key,
           " is not the first part's; the parts are not of one model");
}

}  // namespace

GgufHeader parse_gguf(std::span<const std::byte> bytes, const std::string& name) {
  ByteReader in(bytes, name);
  GgufHeader header;
  header.metadata = Metadata(name);
  header.version = read_version(in);
  const std::uint64_t n_tensors = read_count(in, "tensors", kLeastTensor);
  const std::uint64_t n_pairs = read_count(in, "keys", kLeastPair);
  read_metadata(in, n_pairs, header.metadata);
  header.alignment = gguf_alignment(header.metadata);
  read_tensors(in, n_tensors, bytes, header);
  std::unordered_set<std::string_view> seen;
  for (const TensorInfo& tensor : header.tensors)
    if (!seen.insert(tensor.name).second)
      fail(ErrorKind::input, name, ": tensor ", quote(tensor.name), " appears twice");
  return header;
}

bool GgufReader::accepts(const SourceProbe& probe) {
  return probe.head.substr(0, kMagic.size()) == kMagic;
}

GgufReader::GgufReader(const std::filesystem::path& path) : name_(path.string()) {
  MappedFile file(path);
  GgufHeader header = parse_gguf(file.bytes(), name_);
  if (part_count(header.metadata) > 1) {
    open_parts(path, std::move(header), std::move(file));
  } else {
    files_.push_back(std::move(file));
    paths_.push_back(path);
    add(std::move(header));
  }
  index_tensors(tensors_);
}

GgufReader::GgufReader(std::span<const std::byte> bytes, std::string name)
    : name_(std::move(name)) {
  add(parse_gguf(bytes, name_));
  index_tensors(tensors_);
}

void GgufReader::add(GgufHeader header) {
  if (format_.empty()) {
    format_ = "GGUF " + std::to_string(header.version);
    metadata_ = std::move(header.metadata);
  }
  for (std::size_t i = 0; i < header.tensors.size(); ++i) {
    tensors_.push_back(std::move(header.tensors[i]));
    data_.push_back(header.data[i]);
    if (!files_.empty()) file_of_.push_back(files_.size() - 1);
  }
}

void GgufReader::open_parts(const std::filesystem::path& path, GgufHeader given,
                            MappedFile given_file) {
  const std::int64_t count = part_count(given.metadata);
  const std::int64_t given_number = given.metadata.integer(kGgufPartKey, 0, count - 1);
  const auto pattern = part_name(path.filename().string(), static_cast<std::uint64_t>(count));
  if (!pattern)
    fail(ErrorKind::input, name_, ": is one of ", count,
         " parts of a model, and its name does not tell the names of the others; expected NAME",
         gguf_part_mark(0, static_cast<std::uint64_t>(count)), ".gguf");
  for (std::int64_t i = 0; i < count; ++i) {
    const auto part = path.parent_path() /
                      pattern->of(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(count));
    const bool is_given = i == given_number && part.filename() == path.filename();
    std::error_code ignored;
    if (!is_given && !std::filesystem::exists(part, ignored))
      fail(ErrorKind::file, part.string(), ": part ", i + 1, " of ", count,
           " of the model is missing; all parts have to be in one folder");
    MappedFile file = is_given ? std::move(given_file) : MappedFile(part);
    GgufHeader header = is_given ? std::move(given) : parse_gguf(file.bytes(), part.string());
    check_part(header.metadata, i, count, metadata_);
    files_.push_back(std::move(file));
    paths_.push_back(part);
    add(std::move(header));
  }
  const auto total = metadata_.find_integer(kGgufPartTensorsKey, 0, kMaxTensors);
  if (total && static_cast<std::uint64_t>(*total) != tensors_.size())
    fail(ErrorKind::input, name_, ": the parts have ", tensors_.size(), " tensors; expected ",
         *total, " (split.tensors.count); they are not all of one model");
}

void GgufReader::read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const {
  const auto part = data(index).subspan(offset, into.size());
  if (files_.empty())
    std::copy(part.begin(), part.end(), into.begin());
  else
    files_[file_of_[index]].read(part, into);
}

void GgufReader::release(std::size_t index) const {
  if (!files_.empty()) files_[file_of_[index]].release(data(index));
}

}  // namespace lq
