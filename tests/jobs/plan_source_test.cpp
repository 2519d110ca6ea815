#include "lib/jobs/plan_source.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "lib/format/gguf_reader.h"
#include "lib/infer/model.h"
#include "tests/support/models.h"
#include "tests/support/toys.h"

namespace {

using namespace lq;
using test::checkpoint;

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::ranges::equal(a, b);
}

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
