#include "lib/format/gguf_writer.h"

#include <cstring>
#include <unordered_set>

#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_layout.h"

namespace lq {
namespace {

constexpr std::uint32_t kVersion = 3;

/// Little-endian fields one after the other.
class ByteWriter {
 public:
  template <class T>
  void put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void put_string(std::string_view text) {
    put(std::uint64_t{text.size()});
    bytes_.append(text);
  }
  void pad_to(std::uint64_t size) { bytes_.resize(size); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Writes a number as the stored type; whether it is a scalar or an array's element does not
/// matter.
template <class Number>
void put_number(ByteWriter& out, ValueType type, Number value) {
  switch (type) {
    case ValueType::u8:
      return out.put(static_cast<std::uint8_t>(value));
    case ValueType::i8:
      return out.put(static_cast<std::int8_t>(value));
    case ValueType::boolean:
      return out.put(static_cast<std::uint8_t>(value != 0));
    case ValueType::u16:
      return out.put(static_cast<std::uint16_t>(value));
    case ValueType::i16:
      return out.put(static_cast<std::int16_t>(value));
    case ValueType::u32:
      return out.put(static_cast<std::uint32_t>(value));
    case ValueType::i32:
      return out.put(static_cast<std::int32_t>(value));
    case ValueType::u64:
      return out.put(static_cast<std::uint64_t>(value));
    case ValueType::i64:
      return out.put(static_cast<std::int64_t>(value));
    case ValueType::f32:
      return out.put(static_cast<float>(value));
    case ValueType::f64:
      return out.put(static_cast<double>(value));
    case ValueType::string:
    case ValueType::array:
      break;
  }
  LQ_ASSERT(type != ValueType::string && type != ValueType::array);
}

struct ValueWriter {
  ByteWriter& out;
  const Value& value;

  template <class Number>
  void operator()(Number number) const requires std::is_arithmetic_v<Number> {
    put_number(out, value.type, number);
  }
  void operator()(const std::string& text) const {
    LQ_ASSERT(value.type == ValueType::string);
    out.put_string(text);
  }
  template <class Element>
  void operator()(const std::vector<Element>& elements) const {
    LQ_ASSERT(value.type == ValueType::array);
    out.put(static_cast<std::uint32_t>(value.element));
    out.put(std::uint64_t{elements.size()});
    for (const Element& element : elements) {
      if constexpr (std::is_same_v<Element, std::string>) {
        LQ_ASSERT(value.element == ValueType::string);
        out.put_string(element);
      } else {
        put_number(out, value.element, element);
      }
    }
  }
};

void check_tensor(const TensorInfo& tensor) {
  if (tensor.name.size() > kGgufMaxName)
    fail(ErrorKind::unsupported, "tensor name ", quote(tensor.name), " has ", tensor.name.size(),
         " bytes; GGUF allows ", kGgufMaxName);
  if (tensor.shape.size() > kGgufMaxDims)
    fail(ErrorKind::unsupported, "tensor ", quote(tensor.name), " has ", tensor.shape.size(),
         " dimensions; GGUF allows ", kGgufMaxDims);
  const auto& facts = traits(tensor.type);
  if (!facts.in_gguf())
    fail(ErrorKind::unsupported, "tensor ", quote(tensor.name), " is of type ", facts.name,
         ", which GGUF files cannot hold");
  if (tensor.row_length() % static_cast<std::uint64_t>(facts.values) != 0)
    fail(ErrorKind::unsupported, "tensor ", quote(tensor.name), " has rows of ",
         tensor.row_length(), " values; ", facts.name, " takes multiples of ", facts.values);
}

/// Everything about a file but its tensors' data.
struct Layout {
  std::string header;                  ///< with the padding before the data
  std::vector<std::uint64_t> offsets;  ///< of each tensor within the data
  std::uint64_t total_bytes = 0;
};

std::uint64_t aligned(std::uint64_t value, std::uint64_t alignment) {
  const auto result = checked_align(value, alignment);
  if (!result) fail(ErrorKind::unsupported, "a model of more than 2^64 bytes");
  return *result;
}

Layout make_layout(const Metadata& metadata, std::span<const TensorInfo> tensors) {
  const std::uint64_t alignment = gguf_alignment(metadata);
  ByteWriter out;
  for (const char c : {'G', 'G', 'U', 'F'}) out.put(c);
  out.put(kVersion);
  out.put(std::uint64_t{tensors.size()});
  out.put(std::uint64_t{metadata.entries().size()});
  for (const auto& [key, value] : metadata.entries()) {
    out.put_string(key);
    out.put(static_cast<std::uint32_t>(value.type));
    std::visit(ValueWriter{out, value}, value.data);
  }
  Layout layout;
  std::uint64_t offset = 0;
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& tensor : tensors) {
    check_tensor(tensor);
    if (!names.insert(tensor.name).second)
      fail(ErrorKind::unsupported, "tensor ", quote(tensor.name), " would be written twice");
    out.put_string(tensor.name);
    out.put(static_cast<std::uint32_t>(tensor.shape.size()));
    for (const std::uint64_t dimension : tensor.shape) out.put(dimension);
    out.put(traits(tensor.type).gguf_id);
    out.put(offset);
    layout.offsets.push_back(offset);
    const auto end = checked_add(offset, tensor.bytes());
    if (!end) fail(ErrorKind::unsupported, "a model of more than 2^64 bytes");
    offset = aligned(*end, alignment);
  }
  // Without tensors there is nothing to align, but the reference pads the parts of a model all the
  // same.
  if (!tensors.empty() || metadata.has(kGgufPartKey))
    out.pad_to(aligned(out.bytes().size(), alignment));
  layout.header = out.bytes();
  layout.total_bytes = layout.header.size() + offset;
  return layout;
}

}  // namespace

GgufWriter::GgufWriter(const std::filesystem::path& path, const Metadata& metadata,
                       std::span<const TensorInfo> tensors, Existing existing, Leave leave) {
  const Layout layout = make_layout(metadata, tensors);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    starts_.push_back(layout.header.size() + layout.offsets[i]);
    sizes_.push_back(tensors[i].bytes());
    data_bytes_ += sizes_.back();
  }
  total_bytes_ = layout.total_bytes;
  file_ = std::make_unique<AtomicFile>(path, existing, leave);
  file_->reserve(total_bytes_);  // zeros: all padding
  file_->write_at(0, std::as_bytes(std::span(layout.header)));
}

void GgufWriter::write(std::size_t index, std::uint64_t offset, std::span<const std::byte> bytes) {
  LQ_ASSERT(index < sizes_.size() && offset <= sizes_[index] &&
            bytes.size() <= sizes_[index] - offset);
  file_->write_at(starts_[index] + offset, bytes);
  written_ += bytes.size();
}

void GgufWriter::read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const {
  LQ_ASSERT(index < sizes_.size() && offset <= sizes_[index] &&
            into.size() <= sizes_[index] - offset);
  file_->read_at(starts_[index] + offset, into);
}

void GgufWriter::finish() {
  LQ_ASSERT(written_ == data_bytes_);
  file_->commit();
}

std::string gguf_header(const Metadata& metadata, std::span<const TensorInfo> tensors) {
  return make_layout(metadata, tensors).header;
}

std::uint64_t gguf_file_bytes(const Metadata& metadata, std::span<const TensorInfo> tensors) {
  return make_layout(metadata, tensors).total_bytes;
}

}  // namespace lq
