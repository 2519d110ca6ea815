#include "lib/jobs/checkpoint_pass.h"

#include <algorithm>
#include <cmath>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/parallel.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr std::uint64_t kSliceValues = 16 << 10;  // with what becomes of them 200 KB

[[noreturn]] void refuse_value(const CheckpointPlan& plan, const PlannedModule& module,
                               std::uint64_t element, float value) {
  fail(ErrorKind::input, plan.source->tensors[module.source_index].file.string(), ": tensor ",
       quote(plan.source->info(module.source_index).name), ": element ", element, " is ", value,
       "; weights have to be finite");
}

std::uint64_t source_bytes(const CheckpointPlan& plan, const PlannedModule& module) {
  return plan.source->tensors[module.source_index].bytes;
}

/// Rows or bytes.
std::uint64_t extent_of(const CheckpointPlan& plan, const PlannedModule& module) {
  return module.linear ? module.linear->rows : source_bytes(plan, module);
}

}  // namespace

std::uint64_t slice_rows(std::uint64_t cols, std::uint64_t together) {
  return std::max<std::uint64_t>(1, kSliceValues / cols / together) * together;
}

CheckpointPass::CheckpointPass(const CheckpointPlan& plan, int threads, Monitor& monitor)
    : plan_(plan), threads_(threads), monitor_(monitor), kernels_(choose_cpu_kernels()) {
  for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
    const std::uint64_t end = extent_of(plan_, plan_.modules[i]);
    const std::uint64_t step = plan_.modules[i].linear ? kLinearChunk : kCopyBytes;
    std::size_t number = 0;
    for (std::uint64_t at = 0; at < end; at += step)
      pieces_.push_back({i, number++, at, std::min(end, at + step)});
  }
}

void CheckpointPass::run(const char* what,
                         const std::function<void(const CheckpointPiece&, PieceMemory&)>& work) {
  std::uint64_t total = 0;
  for (const PlannedModule& module : plan_.modules) total += source_bytes(plan_, module);
  monitor_.begin(what, total, Unit::bytes);
  std::mutex telling;
  parallel_for(static_cast<std::ptrdiff_t>(pieces_.size()), threads_, [&](std::ptrdiff_t i) {
    const CheckpointPiece& piece = pieces_[static_cast<std::size_t>(i)];
    {
      const std::lock_guard lock(telling);
      monitor_.check_stop();
    }
    std::unique_ptr<PieceMemory> memory = take_memory();
    work(piece, *memory);
    {
      const std::lock_guard lock(memory_mutex_);
      free_.push_back(std::move(memory));
    }
    const PlannedModule& module = plan_.modules[piece.module];
    const std::lock_guard lock(telling);
    monitor_.advance(source_bytes(plan_, module) / extent_of(plan_, module) *
                     (piece.last - piece.first));
  });
  monitor_.end();
}

std::unique_ptr<PieceMemory> CheckpointPass::take_memory() {
  const std::lock_guard lock(memory_mutex_);
  if (free_.empty()) return std::make_unique<PieceMemory>();
  std::unique_ptr<PieceMemory> memory = std::move(free_.back());
  free_.pop_back();
  return memory;
}

void CheckpointPass::for_each_slice(const CheckpointPiece& piece, std::uint64_t together,
                                    const std::function<void(const CheckpointPiece&)>& work) const {
  const std::uint64_t step = slice_rows(plan_.modules[piece.module].linear->cols, together);
  for (std::uint64_t first = piece.first; first < piece.last; first += step)
    work({piece.module, piece.number, first, std::min(piece.last, first + step)});
}

std::span<const float> CheckpointPass::values_of(const CheckpointPiece& piece,
                                                 PieceMemory& memory) const {
  const PlannedModule& module = plan_.modules[piece.module];
  const Linear& linear = *module.linear;
  const std::uint64_t row_bytes = linear.cols * traits(linear.type).bytes;
  memory.stored.resize((piece.last - piece.first) * row_bytes);
  plan_.source->read(module.source_index, piece.first * row_bytes, memory.stored);
  std::vector<float>& values = memory.values;
  values.resize((piece.last - piece.first) * linear.cols);
  kernels_.decode[index_of(linear.type)](memory.stored.data(), values.data(), values.size());
  if (kernels_.all_finite(values.data(), values.size())) return values;
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  refuse_value(plan_, module,
               piece.first * linear.cols + static_cast<std::uint64_t>(bad - values.begin()), *bad);
}

std::span<const std::byte> CheckpointPass::bytes_of(const CheckpointPiece& piece,
                                                    PieceMemory& memory) const {
  const PlannedModule& module = plan_.modules[piece.module];
  memory.stored.resize(piece.last - piece.first);
  plan_.source->read(module.source_index, piece.first, memory.stored);
  if (!module.as_half) return memory.stored;
  const HfModel::Tensor& tensor = plan_.source->tensors[module.source_index];
  as_half(tensor.made.output.type, memory.stored,
          tensor.file.string() + ": tensor " + quote(tensor.made.output.name), memory);
  return memory.halves;
}

void as_half(DType type, std::span<const std::byte> bytes, const std::string& name,
             PieceMemory& memory) {
  const kernels::KernelTable& kernels = choose_cpu_kernels();
  memory.values.resize(bytes.size() / traits(type).bytes);
  kernels.decode[index_of(type)](bytes.data(), memory.values.data(), memory.values.size());
  for (const float value : memory.values)
    if (!(std::fabs(value) < 65520.0f))
      fail(ErrorKind::input, name, ": holds ", value,
           ", which F16 cannot; this format stores all tensors as F16, use another --format");
  memory.halves.resize(memory.values.size() * sizeof(std::uint16_t));
  traits(DType::F16)
      .encode(memory.values.data(), nullptr, memory.halves.data(), memory.values.size());
}

std::size_t count_pieces(const CheckpointPlan& plan, std::size_t module) {
  const std::uint64_t step = plan.modules[module].linear ? kLinearChunk : kCopyBytes;
  return (extent_of(plan, plan.modules[module]) + step - 1) / step;
}

LinearPart::Range range_of_piece(const CheckpointPlan& plan, const CheckpointPiece& piece,
                                 std::size_t part) {
  const PlannedModule& module = plan.modules[piece.module];
  if (module.linear)
    return module.parts[part].range_of(piece.first, piece.last, module.linear->rows);
  if (!module.as_half) return {piece.first, piece.last - piece.first};
  const std::uint64_t bytes = traits(plan.source->info(module.source_index).type).bytes;
  return {piece.first / bytes * sizeof(std::uint16_t),
          (piece.last - piece.first) / bytes * sizeof(std::uint16_t)};
}

}  // namespace lq
