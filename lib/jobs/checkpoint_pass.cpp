#include "lib/jobs/checkpoint_pass.h"

#include <algorithm>
#include <cmath>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/parallel.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr std::uint64_t kCopyBytes = 1 << 20;

[[noreturn]] void refuse_value(const CheckpointPlan& plan, const PlannedModule& module,
                               std::uint64_t element, float value) {
  fail(ErrorKind::input, plan.source->file_of(module.source_index).string(), ": tensor ",
       quote(plan.source->tensors()[module.source_index].name), ": element ", element, " is ",
       value, "; weights have to be finite");
}

}  // namespace

CheckpointPass::CheckpointPass(const CheckpointPlan& plan, int threads, Monitor& monitor)
    : plan_(plan), threads_(threads), monitor_(monitor) {
  for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
    const PlannedModule& module = plan_.modules[i];
    const std::uint64_t end = module.linear ? module.linear->rows : source_bytes(module);
    const std::uint64_t step = module.linear ? kLinearChunk : kCopyBytes;
    for (std::uint64_t at = 0; at < end; at += step)
      pieces_.push_back({i, at, std::min(end, at + step)});
  }
}

void CheckpointPass::run(const char* what,
                         const std::function<void(const CheckpointPiece&)>& work) {
  std::uint64_t total = 0;
  for (const PlannedModule& module : plan_.modules) total += source_bytes(module);
  monitor_.begin(what, total, Unit::bytes);
  std::mutex telling;
  parallel_for(static_cast<std::ptrdiff_t>(pieces_.size()), threads_, [&](std::ptrdiff_t i) {
    const CheckpointPiece& piece = pieces_[static_cast<std::size_t>(i)];
    {
      const std::lock_guard lock(telling);
      monitor_.check_stop();
    }
    work(piece);
    const PlannedModule& module = plan_.modules[piece.module];
    const std::uint64_t of = module.linear ? module.linear->rows : source_bytes(module);
    const std::lock_guard lock(telling);
    monitor_.advance(source_bytes(module) / of * (piece.last - piece.first));
  });
  monitor_.end();
}

std::vector<float> CheckpointPass::values_of(const CheckpointPiece& piece) const {
  const PlannedModule& module = plan_.modules[piece.module];
  const Linear& linear = *module.linear;
  const kernels::KernelTable& kernels = choose_cpu_kernels();
  const std::uint64_t row_bytes = linear.cols * traits(linear.type).bytes;
  std::vector<std::byte> stored((piece.last - piece.first) * row_bytes);
  plan_.source->read(module.source_index, piece.first * row_bytes, stored);
  std::vector<float> values((piece.last - piece.first) * linear.cols);
  kernels.decode[index_of(linear.type)](stored.data(), values.data(), values.size());
  if (kernels.all_finite(values.data(), values.size())) return values;
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  refuse_value(plan_, module,
               piece.first * linear.cols + static_cast<std::uint64_t>(bad - values.begin()), *bad);
}

std::vector<std::byte> CheckpointPass::bytes_of(const CheckpointPiece& piece) const {
  const PlannedModule& module = plan_.modules[piece.module];
  std::vector<std::byte> bytes(piece.last - piece.first);
  plan_.source->read(module.source_index, piece.first, bytes);
  if (!module.as_half) return bytes;
  const TensorInfo& tensor = plan_.source->tensors()[module.source_index];
  return as_half(
      tensor.type, bytes,
      plan_.source->file_of(module.source_index).string() + ": tensor " + quote(tensor.name));
}

std::vector<std::byte> as_half(DType type, std::span<const std::byte> bytes,
                               const std::string& name) {
  const kernels::KernelTable& kernels = choose_cpu_kernels();
  std::vector<float> values(bytes.size() / traits(type).bytes);
  kernels.decode[index_of(type)](bytes.data(), values.data(), values.size());
  for (const float value : values)
    if (!(std::fabs(value) < 65520.0f))
      fail(ErrorKind::input, name, ": holds ", value,
           ", which F16 cannot; this format stores all tensors as F16, use another --format");
  std::vector<std::byte> halves(values.size() * sizeof(std::uint16_t));
  traits(DType::F16).encode(values.data(), nullptr, halves.data(), values.size());
  return halves;
}

std::uint64_t copied_offset(const CheckpointPlan& plan, const CheckpointPiece& piece) {
  const PlannedModule& module = plan.modules[piece.module];
  if (!module.as_half) return piece.first;
  const DType type = plan.source->tensors()[module.source_index].type;
  return piece.first / traits(type).bytes * sizeof(std::uint16_t);
}

}  // namespace lq
