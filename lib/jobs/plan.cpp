#include "lib/jobs/plan.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>
#include <mutex>

#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_writer.h"

namespace lq {
namespace {

constexpr std::uint64_t kPieceBytes = 1 << 20;
constexpr std::uint64_t kDefaultMemory = std::uint64_t{128} << 20;

/// Rows [begin, end) of a tensor, or its bytes when they are copied: what one thread does at a
/// time.
struct Piece {
  std::size_t tensor;
  std::uint64_t begin, end;
};

/// A thread's memory for one piece.
struct Scratch {
  std::vector<float> row, read_back;
  std::vector<std::byte> encoded;
};

std::uint64_t source_row_bytes(const PlannedTensor& tensor) {
  return tensor.source ? tensor.source->tensors()[tensor.source_index].row_bytes()
                       : tensor.output.row_length() * sizeof(float);
}

std::uint64_t rows_a_piece(const PlannedTensor& tensor) {
  const std::uint64_t row = std::max(tensor.output.row_bytes(), source_row_bytes(tensor));
  return std::max<std::uint64_t>(1, kPieceBytes / std::max<std::uint64_t>(1, row));
}

/// Bytes of a piece of a copy: whole blocks.
std::uint64_t copy_step(DType type) {
  return kPieceBytes / traits(type).bytes * traits(type).bytes;
}

std::uint64_t scratch_bytes(const PlannedTensor& tensor, bool measures) {
  if (tensor.is_copy()) return 0;
  const std::uint64_t rows = std::min(rows_a_piece(tensor), tensor.output.rows());
  const bool decodes = tensor.source_type() != tensor.output.type;
  return rows * tensor.output.row_bytes() +
         (decodes ? tensor.output.row_length() * sizeof(float) * (measures ? 2 : 1) : 0);
}

/// How many threads may work at once, and what each of them needs.
struct Budget {
  int threads;
  std::uint64_t scratch_bytes;
};

Budget make_budget(const Plan& plan, const WriteOptions& options) {
  const std::uint64_t limit = options.memory_limit > 0 ? options.memory_limit : kDefaultMemory;
  std::uint64_t largest = 0;
  const PlannedTensor* which = nullptr;
  for (const PlannedTensor& tensor : plan.tensors) {
    const std::uint64_t bytes = scratch_bytes(tensor, options.report != nullptr);
    if (bytes <= largest) continue;
    largest = bytes;
    which = &tensor;
  }
  if (largest == 0) return {std::max(1, options.threads), 0};
  if (largest > limit)
    fail(ErrorKind::resource, "tensor ", quote(which->output.name), " needs ", largest,
         " bytes of memory a thread; the limit is ", limit);
  const auto most = static_cast<int>(std::clamp<std::uint64_t>(limit / largest, 1, 1 << 16));
  return {std::clamp(options.threads, 1, most), largest};
}

std::vector<Piece> make_pieces(const Plan& plan) {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& tensor = plan.tensors[i];
    const std::uint64_t end = tensor.is_copy() ? tensor.output.bytes() : tensor.output.rows();
    const std::uint64_t step =
        tensor.is_copy() ? copy_step(tensor.output.type) : rows_a_piece(tensor);
    for (std::uint64_t at = 0; at < end; at += step)
      pieces.push_back({i, at, std::min(end, at + step)});
  }
  return pieces;
}

/// Index of the first value that is not finite; n when all are.
std::size_t first_not_finite(const float* values, std::size_t n) {
  constexpr std::uint32_t kExponent = 0x7f800000;
  std::uint32_t found = 0;  // no early end: the loop is vectorised
  for (std::size_t i = 0; i < n; ++i)
    found |= (std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent ? 1u : 0u;
  if (found == 0) return n;
  std::size_t i = 0;
  while ((std::bit_cast<std::uint32_t>(values[i]) & kExponent) != kExponent) ++i;
  return i;
}

class PlanWriter {
 public:
  PlanWriter(const Plan& plan, const WriteOptions& options, GgufWriter& writer, Monitor& monitor)
      : plan_(plan), options_(options), writer_(writer), monitor_(monitor) {}

  void run() {
    const std::vector<Piece> pieces = make_pieces(plan_);
    std::uint64_t total = 0;
    for (const PlannedTensor& tensor : plan_.tensors) total += tensor.output.bytes();
    if (options_.report) piece_reports_.resize(pieces.size());
    monitor_.begin("writing", total, Unit::bytes);
    parallel_for(static_cast<std::ptrdiff_t>(pieces.size()), make_budget(plan_, options_).threads,
                 [&](std::ptrdiff_t i) {
                   const auto at = static_cast<std::size_t>(i);
                   const auto begin = Clock::now();
                   write_piece(pieces[at], options_.report ? &piece_reports_[at].error : nullptr);
                   if (options_.report) piece_reports_[at].ns = ns_since(begin);
                 });
    monitor_.end();
    if (options_.report) collect(pieces);
  }

 private:
  using Clock = std::chrono::steady_clock;

  static std::uint64_t ns_since(Clock::time_point begin) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count());
  }

  /// In the order of the pieces: the same sums for any number of threads.
  void collect(const std::vector<Piece>& pieces) {
    options_.report->assign(plan_.tensors.size(), {});
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      TensorReport& report = (*options_.report)[pieces[i].tensor];
      report.error.add(piece_reports_[i].error);
      report.ns += piece_reports_[i].ns;
    }
  }

  /// `error` may be null.
  void write_piece(const Piece& piece, EncodingError* error) {
    {
      const std::lock_guard lock(monitor_mutex_);
      monitor_.check_stop();
    }
    const PlannedTensor& tensor = plan_.tensors[piece.tensor];
    std::uint64_t written;
    if (tensor.is_copy()) {
      copy_bytes(tensor, piece);
      written = piece.end - piece.begin;
    } else {
      std::unique_ptr<Scratch> scratch = take_scratch();
      written = make_rows(tensor, piece, *scratch, error);
      give_back(std::move(scratch));
    }
    const std::lock_guard lock(monitor_mutex_);
    monitor_.advance(written);
  }

  void copy_bytes(const PlannedTensor& tensor, const Piece& piece) {
    const auto bytes =
        tensor.source->data(tensor.source_index).subspan(piece.begin, piece.end - piece.begin);
    if (options_.check_copies) check_copy(tensor, piece, bytes);
    writer_.write(piece.tensor, piece.begin, bytes);
    tensor.source->release(tensor.source_index, bytes);
  }

  /// The values of a float type, the scales of the others.
  static void check_copy(const PlannedTensor& tensor, const Piece& piece,
                         std::span<const std::byte> bytes) {
    const DTypeTraits& type = traits(tensor.output.type);
    if (!type.has_codec()) return;
    const auto values = static_cast<std::size_t>(type.values);
    if (type.valid(bytes.data(), bytes.size() / type.bytes * values)) return;
    for (std::size_t at = 0; at < bytes.size(); at += type.bytes)
      if (!type.valid(bytes.data() + at, values))
        fail(ErrorKind::input, tensor.source->name(), ": tensor ", quote(tensor.output.name),
             ": element ", (piece.begin + at) / type.bytes * values,
             values > 1 ? " begins a block whose scale" : "",
             " is not a finite number; weights have to be finite");
  }

  static void check_finite(const PlannedTensor& tensor, const float* values, std::size_t n,
                           std::uint64_t first_element) {
    const std::size_t i = first_not_finite(values, n);
    if (i < n)
      fail(ErrorKind::input, tensor.source ? tensor.source->name() : "generated", ": tensor ",
           quote(tensor.source ? tensor.source->tensors()[tensor.source_index].name
                               : tensor.output.name),
           ": element ", first_element + i, " is ", values[i], "; weights have to be finite");
  }

  /// Encodes and writes the rows of a piece; returns their bytes.
  std::uint64_t make_rows(const PlannedTensor& tensor, const Piece& piece, Scratch& scratch,
                          EncodingError* error) {
    const std::uint64_t row_bytes = tensor.output.row_bytes();
    scratch.encoded.resize(std::max(scratch.encoded.size(), (piece.end - piece.begin) * row_bytes));
    std::uint64_t low = ~std::uint64_t{0}, high = 0;  // source rows of this piece
    for (std::uint64_t row = piece.begin; row < piece.end; ++row) {
      const std::uint64_t from = tensor.source_row ? tensor.source_row(row) : row;
      low = std::min(low, from);
      high = std::max(high, from + 1);
      std::byte* encoded = scratch.encoded.data() + (row - piece.begin) * row_bytes;
      const float* values = make_row(tensor, row, from, scratch, encoded);
      if (error && values) measure(tensor, values, encoded, row, scratch, *error);
    }
    const auto bytes = std::span(scratch.encoded).first((piece.end - piece.begin) * row_bytes);
    writer_.write(piece.tensor, piece.begin * row_bytes, bytes);
    if (tensor.source) {
      const std::uint64_t from_bytes = source_row_bytes(tensor);
      tensor.source->release(tensor.source_index,
                             tensor.source->data(tensor.source_index)
                                 .subspan(low * from_bytes, (high - low) * from_bytes));
    }
    return bytes.size();
  }

  /// Returns the values that were encoded; null when the row was copied.
  const float* make_row(const PlannedTensor& tensor, std::uint64_t row, std::uint64_t from,
                        Scratch& scratch, std::byte* encoded) {
    const std::size_t n = tensor.output.row_length();
    const float* values = nullptr;
    if (tensor.source) {
      const std::uint64_t row_bytes = source_row_bytes(tensor);
      const std::byte* stored = tensor.source->data(tensor.source_index).data() + from * row_bytes;
      if (tensor.source_type() == tensor.output.type) {
        std::memcpy(encoded, stored, row_bytes);
        return nullptr;
      }
      scratch.row.resize(std::max(scratch.row.size(), n));
      traits(tensor.source_type()).decode(stored, scratch.row.data(), n);
      values = scratch.row.data();
    } else {
      values = tensor.values.data() + from * n;
    }
    check_finite(tensor, values, n, from * n);
    traits(tensor.output.type).encode(values, tensor.importance_of(row), encoded, n);
    check_encoded(tensor, values, encoded, from * n);
    return values;
  }

  static void measure(const PlannedTensor& tensor, const float* values, const std::byte* encoded,
                      std::uint64_t row, Scratch& scratch, EncodingError& error) {
    const DTypeTraits& type = traits(tensor.output.type);
    const std::size_t n = tensor.output.row_length();
    scratch.read_back.resize(std::max(scratch.read_back.size(), n));
    type.decode(encoded, scratch.read_back.data(), n);
    error.add(values, scratch.read_back.data(), n, static_cast<std::size_t>(type.values), row * n);
  }

  /// Large values may be finite and yet not have a finite half-precision scale.
  static void check_encoded(const PlannedTensor& tensor, const float* values,
                            const std::byte* encoded, std::uint64_t first_element) {
    const DTypeTraits& type = traits(tensor.output.type);
    const std::size_t n = tensor.output.row_length();
    const auto block = static_cast<std::size_t>(type.values);
    if (type.valid(encoded, n)) return;
    for (std::size_t at = 0; at < n; at += block)
      if (!type.valid(encoded + type.row_bytes(at), block))
        fail(ErrorKind::input, tensor.source ? tensor.source->name() : "generated", ": tensor ",
             quote(tensor.output.name), ": element ", first_element + at, " (", values[at], ")",
             block > 1 ? " begins a block that " : " is a value that ", type.name,
             " cannot hold; choose another type for this tensor");
  }

  std::unique_ptr<Scratch> take_scratch() {
    const std::lock_guard lock(scratch_mutex_);
    if (free_.empty()) return std::make_unique<Scratch>();
    auto scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(scratch_mutex_);
    free_.push_back(std::move(scratch));
  }

  const Plan& plan_;
  const WriteOptions& options_;
  GgufWriter& writer_;
  Monitor& monitor_;
  std::mutex monitor_mutex_, scratch_mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
  std::vector<TensorReport> piece_reports_;
};

void check_tensor(const PlannedTensor& tensor) {
  const DType from = tensor.source_type(), to = tensor.output.type;
  if (tensor.is_copy()) {
    LQ_ASSERT(tensor.source->data(tensor.source_index).size() == tensor.output.bytes());
    return;
  }
  if (tensor.source)
    LQ_ASSERT(tensor.source->tensors()[tensor.source_index].row_length() ==
              tensor.output.row_length());
  else
    LQ_ASSERT(tensor.values.size() == tensor.output.elements());
  if (tensor.importance)
    LQ_ASSERT(!tensor.importance->empty() &&
              tensor.output.elements() % tensor.importance->size() == 0 &&
              tensor.importance->size() % tensor.output.row_length() == 0);
  for (const DType type : {from, to})
    if (from != to && !traits(type).has_codec())
      fail(ErrorKind::unsupported, "tensor ", quote(tensor.output.name), ": ", traits(from).name,
           " cannot be turned into ", traits(to).name, "; ", traits(type).name,
           " can only be copied");
}

void check_disk(const Plan& plan, const std::filesystem::path& output) {
  const auto free = disk_free_bytes(output);
  const std::uint64_t needed = plan.file_bytes();
  if (free && needed > *free)
    fail(ErrorKind::file, output.string(), ": needs ", needed, " bytes of disk space, ", *free,
         " are free");
}

}  // namespace

DType PlannedTensor::source_type() const {
  return source ? source->tensors()[source_index].type : DType::F32;
}

const float* PlannedTensor::importance_of(std::uint64_t row) const {
  if (!importance) return nullptr;
  const std::uint64_t rows_a_matrix = output.elements() / importance->size();
  return importance->data() + row / rows_a_matrix * output.row_length();
}

std::vector<TensorInfo> Plan::outputs() const {
  std::vector<TensorInfo> infos;
  for (const PlannedTensor& tensor : tensors) infos.push_back(tensor.output);
  return infos;
}

std::uint64_t Plan::file_bytes() const { return gguf_file_bytes(metadata, outputs()); }

double Plan::bits_per_weight() const {
  double bytes = 0, weights = 0;
  for (const PlannedTensor& tensor : tensors) {
    if (trimmed_shape(tensor.output.shape).size() < 2) continue;
    bytes += static_cast<double>(tensor.output.bytes());
    weights += static_cast<double>(tensor.output.elements());
  }
  return weights > 0 ? bytes * 8 / weights : 0;
}

std::size_t Plan::fallbacks() const {
  return static_cast<std::size_t>(std::count_if(
      tensors.begin(), tensors.end(),
      [](const PlannedTensor& tensor) { return tensor.output.type != tensor.wanted_type; }));
}

std::uint64_t peak_memory_bytes(const Plan& plan, const WriteOptions& options) {
  const Budget budget = make_budget(plan, options);
  std::uint64_t data = 0, pieces = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    data += tensor.output.bytes();
    pieces += tensor.is_copy() ? tensor.output.bytes() / copy_step(tensor.output.type) + 1
                               : tensor.output.rows() / rows_a_piece(tensor) + 1;
  }
  const std::uint64_t header = plan.file_bytes() - data;  // once built, once copied
  return static_cast<std::uint64_t>(budget.threads) * budget.scratch_bytes +
         pieces * (sizeof(Piece) + (options.report ? sizeof(TensorReport) : 0)) + 2 * header;
}

std::optional<std::uint64_t> disk_free_bytes(const std::filesystem::path& output) {
  std::error_code error;
  const auto status = std::filesystem::status(output, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    return std::nullopt;
  const auto directory = output.has_parent_path() ? output.parent_path() : ".";
  const auto space = std::filesystem::space(directory, error);
  if (error) return std::nullopt;
  return space.available;
}

void write_plan(const Plan& plan, const std::filesystem::path& output, const WriteOptions& options,
                Monitor& monitor) {
  for (const PlannedTensor& tensor : plan.tensors) check_tensor(tensor);
  make_budget(plan, options);  // refused before anything is made
  check_disk(plan, output);
  GgufWriter writer(output, plan.metadata, plan.outputs(), options.existing);
  PlanWriter(plan, options, writer, monitor).run();
  monitor.check_stop();
  writer.finish();
}

}  // namespace lq
