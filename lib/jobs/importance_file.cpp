// Files of importance matrices: GGUF, and the .dat form that came before it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_reader.h"
#include "lib/format/gguf_writer.h"
#include "lib/io/byte_reader.h"
#include "lib/io/mapped_file.h"
#include "lib/io/text_file.h"
#include "lib/jobs/importance.h"

namespace lq {
namespace {

constexpr std::string_view kMagic = "GGUF", kSums = ".in_sum2", kCounts = ".counts";
constexpr const char* kType = "general.type";
constexpr const char* kTypeName = "imatrix";
constexpr const char* kDatasets = "imatrix.datasets";
constexpr const char* kChunkCount = "imatrix.chunk_count";
constexpr const char* kChunkSize = "imatrix.chunk_size";
constexpr std::int64_t kMostChunks = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMostChunkTokens = 1 << 24;
/// Counts are stored as binary32; more than this is no number of tokens.
constexpr float kMostTokens = 9e15f;

bool is_gguf(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), "GGUF", kMagic.size()) == 0;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// Sums and counts of an entry while a file is read.
struct StoredEntry {
  std::optional<std::size_t> sums, counts;  ///< tensor indices
};

std::vector<float> stored_floats(const GgufReader& file, std::size_t index) {
  const TensorInfo& info = file.tensors()[index];
  if (info.type != DType::F32)
    fail(ErrorKind::input, file.name(), ": tensor ", quote(info.name), " has type ",
         traits(info.type).name, "; expected F32 in an importance matrix");
  std::vector<float> values(info.elements());
  std::memcpy(values.data(), file.data(index).data(), values.size() * sizeof(float));
  return values;
}

ImportanceEntry make_entry(const GgufReader& file, const std::string& name,
                           const StoredEntry& stored) {
  if (!stored.sums || !stored.counts)
    fail(ErrorKind::input, file.name(), ": entry ", quote(name), " has no tensor ",
         quote(name + std::string(stored.sums ? kCounts : kSums)));
  ImportanceEntry entry;
  entry.sums = stored_floats(file, *stored.sums);
  for (const float count : stored_floats(file, *stored.counts)) {
    if (!(count >= 0 && count <= kMostTokens))
      fail(ErrorKind::input, file.name(), ": entry ", quote(name), " counts ", count,
           " tokens; expected a number that is not negative");
    entry.counts.push_back(std::llround(count));
  }
  if (entry.sums.size() % entry.counts.size() != 0)
    fail(ErrorKind::input, file.name(), ": entry ", quote(name), " has ", entry.sums.size(),
         " values for ", entry.counts.size(), " matrices; expected the same number for each");
  return entry;
}

ImportanceMatrix parse_gguf_form(std::span<const std::byte> bytes, const std::string& name) {
  const GgufReader file(bytes, name);
  const Metadata& metadata = file.metadata();
  for (const char* key : {kDatasets, kChunkCount, kChunkSize})
    if (!metadata.has(key))
      fail(ErrorKind::input, name, ": key ", key,
           " is missing; this is a GGUF file but not an importance matrix");
  ImportanceMatrix matrix;
  matrix.name = name;
  matrix.datasets = metadata.strings(kDatasets);
  matrix.chunk_count = static_cast<int>(metadata.integer(kChunkCount, 0, kMostChunks));
  matrix.chunk_size = static_cast<int>(metadata.integer(kChunkSize, 0, kMostChunkTokens));
  std::map<std::string, StoredEntry> stored;
  for (std::size_t i = 0; i < file.tensors().size(); ++i) {
    const std::string& tensor = file.tensors()[i].name;
    if (ends_with(tensor, kSums))
      stored[tensor.substr(0, tensor.size() - kSums.size())].sums = i;
    else if (ends_with(tensor, kCounts))
      stored[tensor.substr(0, tensor.size() - kCounts.size())].counts = i;
  }
  for (const auto& [tensor, parts] : stored)
    matrix.entries.emplace(tensor, make_entry(file, tensor, parts));
  return matrix;
}

/// A length that precedes as many elements of `size` bytes.
std::size_t read_length(ByteReader& reader, const char* field, std::int32_t least,
                        std::size_t size) {
  const std::size_t at = reader.position();
  const auto n = reader.read<std::int32_t>(field);
  if (n < least || static_cast<std::size_t>(n) > reader.left() / size)
    fail(ErrorKind::input, reader.name(), ": at byte ", at, ": ", field, " is ", n, "; expected ",
         least, " to what fits in the ", reader.left(), " bytes that are left");
  return static_cast<std::size_t>(n);
}

std::string read_string(ByteReader& reader, const char* field) {
  const auto bytes = reader.take(read_length(reader, field, 0, 1), field);
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.substr(0, text.find('\0'));
}

void read_dat_entry(ByteReader& reader, ImportanceMatrix& matrix) {
  const std::size_t at = reader.position();
  const std::string name = read_string(reader, "length of a name");
  ImportanceEntry entry;
  entry.counts = {reader.read<std::int32_t>("number of calls")};
  entry.sums.resize(read_length(reader, "number of values", 1, sizeof(float)));
  const auto bytes = reader.take(entry.sums.size() * sizeof(float), "values");
  std::memcpy(entry.sums.data(), bytes.data(), bytes.size());
  if (!matrix.entries.emplace(name, std::move(entry)).second)
    fail(ErrorKind::input, reader.name(), ": at byte ", at, ": entry ", quote(name),
         " is there twice");
}

ImportanceMatrix parse_dat_form(std::span<const std::byte> bytes, const std::string& name) {
  constexpr std::size_t kSmallestEntry = 4 * sizeof(std::int32_t);
  ByteReader reader(bytes, name);
  ImportanceMatrix matrix;
  matrix.name = name;
  matrix.legacy = true;
  const std::size_t n = read_length(reader, "number of entries", 1, kSmallestEntry);
  for (std::size_t i = 0; i < n; ++i) read_dat_entry(reader, matrix);
  // Older files end here.
  if (reader.left() == 0) return matrix;
  matrix.chunk_count = std::max(0, reader.read<std::int32_t>("number of chunks"));
  if (reader.left() == 0) return matrix;
  std::string dataset = read_string(reader, "length of the name of a text");
  if (!dataset.empty()) matrix.datasets.push_back(std::move(dataset));
  return matrix;
}

/// Some file whose first bytes could be those of the .dat form: a count, a length, a name.
bool looks_like_dat(std::span<const std::byte> head) {
  constexpr std::int32_t kMostEntries = 1 << 20, kMostLetters = 1 << 12;
  std::int32_t lead[2];
  if (head.size() < sizeof lead) return false;
  std::memcpy(lead, head.data(), sizeof lead);
  if (lead[0] < 1 || lead[0] > kMostEntries || lead[1] < 1 || lead[1] > kMostLetters) return false;
  const auto name = head.subspan(sizeof lead)
                        .first(std::min<std::size_t>(head.size() - sizeof lead,
                                                     static_cast<std::size_t>(lead[1])));
  return !name.empty() && std::all_of(name.begin(), name.end(), [](std::byte b) {
    return b > std::byte{' '} && b < std::byte{127};
  });
}

template <class T>
void append(std::string& text, T value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_string(std::string& text, const std::string& value) {
  append(text, static_cast<std::int32_t>(value.size()));
  text += value;
}

/// Means times the number of chunks, in single precision as the reference computes them.
void append_dat_values(std::string& text, const ImportanceEntry& entry, float calls) {
  const std::size_t columns = entry.columns();
  for (std::size_t i = 0; i < entry.sums.size(); ++i) {
    const auto count = static_cast<float>(entry.counts[i / columns]);
    append(text, (count > 0 ? entry.sums[i] / count : 1.0f) * calls);
  }
}

std::string dat_form(const ImportanceMatrix& matrix) {
  std::string text;
  std::int32_t n = 0;
  append(text, n);
  for (const auto& [name, entry] : matrix.entries) {
    const std::int64_t tokens = entry.most_tokens();
    if (tokens == 0) continue;
    if (entry.sums.size() > static_cast<std::size_t>(kMostChunks))
      fail(ErrorKind::unsupported, "entry ", quote(name), " has ", entry.sums.size(),
           " values, more than a .dat file can hold; write a .gguf file");
    // Rounded up: a few tokens are not no call.
    const std::int64_t calls =
        matrix.legacy ? tokens
                      : std::min((tokens + matrix.chunk_size - 1) / matrix.chunk_size, kMostChunks);
    append_string(text, name);
    append(text, static_cast<std::int32_t>(calls));
    append(text, static_cast<std::int32_t>(entry.sums.size()));
    append_dat_values(text, entry, static_cast<float>(calls));
    ++n;
  }
  std::memcpy(text.data(), &n, sizeof n);
  append(text, static_cast<std::int32_t>(matrix.chunk_count));
  append_string(text, matrix.datasets.empty() ? "" : matrix.datasets.back());
  return text;
}

void write_gguf_form(const ImportanceMatrix& matrix, const std::filesystem::path& path,
                     Existing existing) {
  Metadata metadata;
  metadata.set(kType, Value::of_string(kTypeName));
  metadata.set(kDatasets, Value::of_strings(matrix.datasets));
  metadata.set(kChunkCount, Value::of_u32(static_cast<std::uint32_t>(matrix.chunk_count)));
  metadata.set(kChunkSize, Value::of_u32(static_cast<std::uint32_t>(matrix.chunk_size)));
  std::vector<TensorInfo> tensors;
  std::vector<std::vector<float>> values;
  const auto add = [&](std::string name, std::vector<std::uint64_t> shape, std::vector<float> v) {
    tensors.push_back({std::move(name), DType::F32, trimmed_shape(shape)});
    values.push_back(std::move(v));
  };
  for (const auto& [name, entry] : matrix.entries) {
    const std::uint64_t matrices = entry.counts.size();
    add(name + std::string(kSums), {entry.columns(), matrices}, entry.sums);
    add(name + std::string(kCounts), {1, matrices},
        std::vector<float>(entry.counts.begin(), entry.counts.end()));
  }
  GgufWriter writer(path, metadata, tensors, existing);
  for (std::size_t i = 0; i < values.size(); ++i)
    writer.write(i, 0, std::as_bytes(std::span(values[i])));
  writer.finish();
}

}  // namespace

bool is_importance_file(const std::filesystem::path& path) {
  constexpr std::size_t kHead = 64;
  try {
    if (!std::filesystem::is_regular_file(path)) return false;
    const std::vector<std::byte> head = read_head(path, kHead);
    if (!is_gguf(head)) return looks_like_dat(head);
    const MappedFile file(path);
    const GgufHeader header = parse_gguf(file.bytes(), file.name());
    return header.metadata.has(kChunkCount) ||
           header.metadata.find_string(kType) == std::optional<std::string>(kTypeName);
  } catch (const Error&) {
    return false;  // whoever opens it as something else says why
  }
}

ImportanceMatrix read_importance(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_importance(file.bytes(), file.name());
}

ImportanceMatrix parse_importance(std::span<const std::byte> bytes, const std::string& name) {
  ImportanceMatrix matrix =
      is_gguf(bytes) ? parse_gguf_form(bytes, name) : parse_dat_form(bytes, name);
  if (matrix.entries.empty())
    fail(ErrorKind::input, name, ": an importance matrix without entries");
  return matrix;
}

void write_importance(const ImportanceMatrix& matrix, const std::filesystem::path& path,
                      Existing existing) {
  LQ_ASSERT(matrix.chunk_size > 0);
  if (ends_with(path.string(), ".dat"))
    write_text(path, dat_form(matrix), existing);
  else
    write_gguf_form(matrix, path, existing);
}

}  // namespace lq
