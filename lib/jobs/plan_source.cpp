#include "lib/jobs/plan_source.h"

#include <cstring>
#include <utility>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/parallel.h"
#include "lib/jobs/plan_rows.h"

namespace lq {
namespace {

/// Rows that a thread makes at a time: some 1 MB of values, and whole words of packed rows.
constexpr std::uint64_t kPieceValues = 1 << 18, kPieceRows = 32;

/// Whether the source has the bytes already, so that nothing is to be made.
bool lies_in_source(const PlannedTensor& tensor) {
  return tensor.is_copy() && tensor.source->rows_made(tensor.source_index) == 0;
}

}  // namespace

PlanSource::PlanSource(Conversion conversion, std::string name, std::string format, int threads)
    : conversion_(std::move(conversion)),
      name_(std::move(name)),
      format_(std::move(format)),
      threads_(threads),
      made_(conversion_.plan.tensors.size()) {
  for (const PlannedTensor& tensor : conversion_.plan.tensors) tensors_.push_back(tensor.output);
  index_tensors(tensors_);
}

std::span<const std::byte> PlanSource::data(std::size_t index) const {
  const PlannedTensor& tensor = conversion_.plan.tensors[index];
  if (lies_in_source(tensor)) return tensor.source->data(tensor.source_index);
  const std::lock_guard lock(mutex_);
  if (made_[index].empty()) made_[index] = make(index);
  return made_[index];
}

void PlanSource::read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const {
  const PlannedTensor& tensor = conversion_.plan.tensors[index];
  if (tensor.is_copy()) return tensor.source->read(tensor.source_index, offset, into);
  TensorSource::read(index, offset, into);
}

std::uint64_t PlanSource::rows_made(std::size_t index) const {
  const PlannedTensor& tensor = conversion_.plan.tensors[index];
  return tensor.is_copy() ? tensor.source->rows_made(tensor.source_index) : 0;
}

void PlanSource::release(std::size_t index) const {
  const PlannedTensor& tensor = conversion_.plan.tensors[index];
  if (tensor.source) tensor.source->release(tensor.source_index);
  const std::lock_guard lock(mutex_);
  if (!made_[index].empty()) spare_ = std::exchange(made_[index], std::vector<std::byte>());
}

ActivationRounding PlanSource::activations(std::size_t index) const {
  const PlannedTensor& tensor = conversion_.plan.tensors[index];
  return tensor.source ? tensor.source->activations(tensor.source_index) : ActivationRounding{};
}

std::vector<std::byte> PlanSource::make(std::size_t index) const {
  const PlannedTensor& tensor = conversion_.plan.tensors[index];
  const std::uint64_t rows = tensor.output.rows(), row_bytes = tensor.output.row_bytes();
  const std::uint64_t wanted =
      kPieceValues / std::max<std::uint64_t>(1, tensor.output.row_length());
  const std::uint64_t step = (wanted / kPieceRows + 1) * kPieceRows;
  std::vector<std::byte> bytes = std::exchange(spare_, std::vector<std::byte>());
  bytes.resize(tensor.output.bytes());
  const auto n_pieces = static_cast<std::ptrdiff_t>((rows + step - 1) / step);
  parallel_for(n_pieces, threads_, [&](std::ptrdiff_t i) {
    Scratch scratch{choose_cpu_kernels(), {}, {}, {}, {}};
    const std::uint64_t begin = static_cast<std::uint64_t>(i) * step;
    const Piece piece{index, begin, std::min(rows, begin + step)};
    if (tensor.is_copy()) {
      tensor.source->read(
          tensor.source_index, begin * row_bytes,
          std::span(bytes).subspan(begin * row_bytes, (piece.end - begin) * row_bytes));
      return;
    }
    const auto made = make_rows(tensor, piece, scratch, nullptr);
    std::memcpy(bytes.data() + begin * row_bytes, made.data(), made.size());
  });
  return bytes;
}

std::unique_ptr<TensorSource> open_runnable(const std::filesystem::path& path, int threads,
                                            Monitor& monitor) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return open_source(path);
  Conversion conversion = plan_conversion({.input = path, .keep_types = true}, monitor);
  std::string format(conversion.source->format());
  return std::make_unique<PlanSource>(std::move(conversion), path.string(),
                                      "Hugging Face folder (" + format + ")", threads);
}

}  // namespace lq
