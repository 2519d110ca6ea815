#include "lib/jobs/plan_source.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "lib/format/gguf_reader.h"
#include "lib/infer/model.h"
#include "tests/support/errors.h"
#include "tests/support/models.h"
#include "tests/support/quantized_checkpoint.h"
#include "tests/support/toys.h"

namespace {

using namespace lq;
using test::checkpoint;

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::ranges::equal(a, b);
}

/// A source whose rows are never made one by one: data() has all of them.
class AsData : public TensorSource {
 public:
  explicit AsData(std::unique_ptr<TensorSource> source) : source_(std::move(source)) {
    index_tensors(source_->tensors());
  }
  const std::string& name() const override { return source_->name(); }
  std::string_view format() const override { return source_->format(); }
  const Metadata& metadata() const override { return source_->metadata(); }
  const std::vector<TensorInfo>& tensors() const override { return source_->tensors(); }
  std::span<const std::byte> data(std::size_t index) const override { return source_->data(index); }
  void release(std::size_t index) const override { source_->release(index); }
  ActivationRounding activations(std::size_t index) const override {
    return source_->activations(index);
  }
  std::vector<std::filesystem::path> files() const override { return source_->files(); }

 private:
  std::unique_ptr<TensorSource> source_;
};

}  // namespace

TEST_CASE("a folder opened for running holds what its file would, tensor by tensor") {
  for (const char* name : {"llama3", "smollm3", "qwen3", "lq-demo-draft"}) {
    CAPTURE(name);
    const test::TempDir dir;
    const GgufReader file(test::convert_checkpoint(dir, name, DType::BF16));
    for (const int threads : {1, 3}) {
      test::Warnings warnings;
      const auto source = open_runnable(checkpoint(name), threads, warnings);
      REQUIRE(source->tensors().size() == file.tensors().size());
      for (std::size_t i = 0; i < file.tensors().size(); ++i) {
        CAPTURE(file.tensors()[i].name);
        CHECK(source->tensors()[i].name == file.tensors()[i].name);
        CHECK(source->tensors()[i].type == file.tensors()[i].type);
        CHECK(same_bytes(source->data(i), file.data(i)));
        source->release(i);
        CHECK(same_bytes(source->data(i), file.data(i)));  // made once more
      }
      for (const auto& [key, value] : file.metadata().entries())
        CHECK(*source->metadata().find(key) == value);
    }
  }
}

TEST_CASE("a folder and its file give the same logits") {
  const std::vector<TokenId> ids = {5, 17, 3, 200, 90, 41};
  for (const char* name : {"llama3", "lq-demo-draft"}) {
    CAPTURE(name);
    const test::LoadedModel file(name, DType::BF16, 2);
    const auto backend = make_cpu_backend(2, {});
    Monitor nobody;
    const Model folder(open_runnable(checkpoint(name), 2, nobody), *backend);
    CHECK(test::all_logits(folder, ids, 4) == test::all_logits(*file, ids, 4));
  }
}

TEST_CASE("matrices whose rows are made while they are repacked are those that are made whole") {
  const std::vector<TokenId> ids = {5, 17, 3, 200, 90, 41};
  Monitor nobody;
  for (const test::QuantizedCase& how : test::quantized_cases()) {
    CAPTURE(how.name);
    const test::TempDir dir;
    test::write_quantized(checkpoint("llama3"), how, dir / "folder");
    const auto backend = make_cpu_backend(3, {});
    const auto source = open_runnable(dir / "folder", 3, nobody);
    const auto rows = source->rows_made(*source->find("blk.0.ffn_up.weight"));
    CHECK(rows > 0);
    CHECK(rows % 32 == 0);
    const Model by_rows(open_runnable(dir / "folder", 3, nobody), *backend);
    const Model whole(std::make_unique<AsData>(open_runnable(dir / "folder", 3, nobody)), *backend);
    CHECK(test::all_logits(by_rows, ids, 4) == test::all_logits(whole, ids, 4));
  }
}

TEST_CASE("the first bad row of a matrix is named, whatever thread makes it") {
  const test::TempDir dir;
  test::write_quantized(checkpoint("llama3"), test::quantized_case("w8a8"), dir / "folder");
  const test::CheckpointCopy copy((dir / "folder").string());
  const std::uint16_t infinity = 0x7f80;  // of a bfloat16
  for (const std::size_t row : {200u, 70u, 190u})
    copy.overwrite("model.layers.0.mlp.up_proj.weight_scale", row * sizeof infinity,
                   std::as_bytes(std::span(&infinity, 1)));
  Monitor nobody;
  for (const int threads : {1, 2, 5}) {
    const auto backend = make_cpu_backend(threads, {});
    const std::string why =
        test::input_error([&] { Model(open_runnable(copy.path(), threads, nobody), *backend); });
    CHECK_MESSAGE(test::holds(why, "'model.layers.0.mlp.up_proj.weight_scale'"), why);
    CHECK_MESSAGE(test::holds(why, "row 70,"), why);
  }
}
