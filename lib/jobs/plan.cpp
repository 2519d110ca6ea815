#include "lib/jobs/plan.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_layout.h"
#include "lib/format/gguf_writer.h"
#include "lib/jobs/plan_pieces.h"

namespace lq {
namespace {

constexpr char kEnding[] = ".gguf";

}  // namespace

DType PlannedTensor::source_type() const {
  return source ? source->tensors()[source_index].type : DType::F32;
}

const float* PlannedTensor::importance_of(std::uint64_t row) const {
  if (!importance) return nullptr;
  const std::uint64_t rows_a_matrix = output.elements() / importance->size();
  return importance->data() + row / rows_a_matrix * output.row_length();
}

std::vector<std::filesystem::path> Plan::files(const std::filesystem::path& output) const {
  if (n_parts == 0) return {output};
  const std::filesystem::path prefix =
      output.extension() == kEnding ? output.parent_path() / output.stem() : output;
  std::vector<std::filesystem::path> names;
  for (std::size_t i = 0; i < n_parts; ++i)
    names.emplace_back(prefix.string() + gguf_part_mark(i, n_parts) + kEnding);
  return names;
}

std::pair<std::size_t, std::size_t> Plan::files_of(const Share& share) const {
  if (share.n > n_files())
    fail(ErrorKind::usage, "there are ", n_files(), " files to write; they cannot be shared by ",
         share.n);
  return {(share.k - 1) * n_files() / share.n, share.k * n_files() / share.n};
}

Metadata Plan::file_metadata(std::size_t file) const {
  Metadata result = file == 0 ? metadata : Metadata(metadata.file_name());
  if (n_parts <= 1) return result;
  result.set(kGgufPartKey, Value::of_u16(static_cast<std::uint16_t>(file)));
  result.set(kGgufPartCountKey, Value::of_u16(static_cast<std::uint16_t>(n_parts)));
  result.set(kGgufPartTensorsKey, Value::of_i32(static_cast<std::int32_t>(tensors.size())));
  return result;
}

std::vector<TensorInfo> Plan::outputs(std::size_t file) const {
  std::vector<TensorInfo> infos;
  for (const PlannedTensor& tensor : tensors)
    if (tensor.file == file) infos.push_back(tensor.output);
  return infos;
}

std::uint64_t Plan::file_bytes(const Share& share) const {
  std::uint64_t total = 0;
  const auto [first, last] = files_of(share);
  for (std::size_t file = first; file < last; ++file) total += bytes_of(file);
  return total;
}

std::uint64_t Plan::bytes_of(std::size_t file) const {
  return gguf_file_bytes(file_metadata(file), outputs(file));
}

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
  std::uint64_t data = 0, pieces = 0, importance = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    data += tensor.output.bytes();
    if (tensor.importance) importance += tensor.importance->size() * sizeof(float);
    pieces += count_pieces(tensor);
  }
  const std::uint64_t header = plan.file_bytes() - data;  // once built, once copied
  return static_cast<std::uint64_t>(budget.threads) * budget.scratch_bytes + importance +
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
