#include "lib/jobs/plan.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_writer.h"
#include "lib/jobs/plan_pieces.h"

namespace lq {

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
    pieces += count_pieces(tensor);
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

}  // namespace lq
