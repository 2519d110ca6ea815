#include "tests/support/parts.h"

#include "lib/format/gguf_reader.h"
#include "lib/format/gguf_writer.h"
#include "lib/jobs/plan.h"
#include "tests/support/tiny_source.h"

namespace lq::test {

std::string write_matrix_model(const TempDir& dir, std::uint64_t rows, DType type,
                               std::uint64_t row_length) {
  Metadata metadata;
  metadata.set("general.architecture", Value::of_string("llama"));
  metadata.set("llama.block_count", Value::of_u32(1));
  TinySource source;
  source.add_random({"blk.0.attn_norm.weight", DType::F32, {row_length}});
  source.add_random({"blk.0.attn_v.weight", type, {row_length, rows}});
  const auto path = dir / "model.gguf";
  GgufWriter writer(path, metadata, source.tensors(), Existing::refuse);
  for (std::size_t i = 0; i < 2; ++i) writer.write(i, 0, source.data(i));
  writer.finish();
  return path.string();
}

std::vector<std::filesystem::path> write_parts(const std::filesystem::path& model,
                                               const std::filesystem::path& name,
                                               const std::vector<std::size_t>& counts) {
  const GgufReader source(model);
  Plan plan;
  plan.metadata = source.metadata();
  plan.n_parts = counts.size();
  for (std::size_t file = 0; file < counts.size(); ++file)
    for (std::size_t i = 0; i < counts[file]; ++i) {
      PlannedTensor tensor;
      tensor.source = &source;
      tensor.source_index = plan.tensors.size();
      tensor.output = source.tensors().at(tensor.source_index);
      tensor.wanted_type = tensor.output.type;
      tensor.file = file;
      plan.tensors.push_back(std::move(tensor));
    }
  Monitor monitor;
  write_plan(plan, name, {}, monitor);
  return plan.files(name);
}

}  // namespace lq::test
