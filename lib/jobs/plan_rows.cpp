#include "lib/jobs/plan_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

void check_finite(const PlannedTensor& tensor, const kernels::KernelTable& kernels,
                  std::span<const float> values, std::uint64_t first_element) {
  if (kernels.all_finite(values.data(), values.size())) return;
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  fail(ErrorKind::input, tensor.source ? tensor.source->name() : "generated", ": tensor ",
       quote(tensor.source ? tensor.source->tensors()[tensor.source_index].name
                           : tensor.output.name),
       ": element ", first_element + static_cast<std::uint64_t>(bad - values.begin()), " is ", *bad,
       "; weights have to be finite");
}

/// Large values may be finite and yet not have a finite half-precision scale.
void check_encoded(const PlannedTensor& tensor, const float* values, const std::byte* encoded,
                   std::uint64_t first_element) {
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

/// Makes row `row` of row `from` of the source, which lies at `stored`. Returns the values that
/// were encoded; null when the row was copied.
const float* make_row(const PlannedTensor& tensor, std::uint64_t row, std::uint64_t from,
                      const std::byte* stored, Scratch& scratch, std::byte* encoded) {
  const std::size_t n = tensor.output.row_length();
  const float* values = nullptr;
  if (tensor.source) {
    if (tensor.takes_stored_rows()) {
      std::memcpy(encoded, stored, source_row_bytes(tensor));
      return nullptr;
    }
    scratch.row.resize(std::max(scratch.row.size(), n));
    scratch.kernels.decode[index_of(tensor.source_type())](stored, scratch.row.data(), n);
    for (std::size_t i = 0; tensor.factor != 1 && i < n; ++i) scratch.row[i] *= tensor.factor;
    values = scratch.row.data();
  } else {
    values = tensor.values.data() + from * n;
  }
  check_finite(tensor, scratch.kernels, {values, n}, from * n);
  scratch.kernels.encode[index_of(tensor.output.type)](values, tensor.importance_of(row), encoded,
                                                       n);
  check_encoded(tensor, values, encoded, from * n);
  return values;
}

void measure(const PlannedTensor& tensor, const float* values, const std::byte* encoded,
             std::uint64_t row, Scratch& scratch, EncodingError& error) {
  const DTypeTraits& type = traits(tensor.output.type);
  const std::size_t n = tensor.output.row_length();
  scratch.read_back.resize(std::max(scratch.read_back.size(), n));
  scratch.kernels.decode[index_of(tensor.output.type)](encoded, scratch.read_back.data(), n);
  error.add(values, scratch.read_back.data(), n, static_cast<std::size_t>(type.values), row * n);
}

}  // namespace

std::span<const std::byte> read_part(const PlannedTensor& tensor, std::uint64_t offset,
                                     std::uint64_t n_bytes, Scratch& scratch) {
  scratch.stored.resize(std::max(scratch.stored.size(), n_bytes));
  const std::span into = std::span(scratch.stored).first(n_bytes);
  tensor.source->read(tensor.source_index, offset, into);
  return into;
}

// The values of a float type, the scales of the others.
void check_copy(const PlannedTensor& tensor, const Piece& piece, std::span<const std::byte> bytes) {
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

std::span<const std::byte> make_rows(const PlannedTensor& tensor, const Piece& piece,
                                     Scratch& scratch, EncodingError* error) {
  const std::uint64_t row_bytes = tensor.output.row_bytes(), from_bytes = source_row_bytes(tensor);
  const RowRange range = source_rows(tensor, piece.begin, piece.end);
  scratch.encoded.resize(std::max(scratch.encoded.size(), (piece.end - piece.begin) * row_bytes));
  std::span<const std::byte> stored;
  if (tensor.source)
    stored = read_part(tensor, range.begin * from_bytes, (range.end - range.begin) * from_bytes,
                       scratch);
  for (std::uint64_t row = piece.begin; row < piece.end; ++row) {
    const std::uint64_t from = tensor.source_row ? tensor.source_row(row) : row;
    const std::byte* at = tensor.source ? &stored[(from - range.begin) * from_bytes] : nullptr;
    std::byte* encoded = scratch.encoded.data() + (row - piece.begin) * row_bytes;
    const float* values = make_row(tensor, row, from, at, scratch, encoded);
    if (error && values) measure(tensor, values, encoded, row, scratch, *error);
  }
  return std::span(scratch.encoded).first((piece.end - piece.begin) * row_bytes);
}

}  // namespace lq
