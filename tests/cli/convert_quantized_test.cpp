// lq-convert on folders that are quantized already.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "lib/base/json.h"
#include "tests/support/errors.h"
#include "tests/support/run_tool.h"
#include "tests/support/toys.h"

using namespace lq;
using namespace lq::test;

TEST_CASE("lq-convert: quantized folders become files, and are looked into") {
  const TempDir dir;
  const std::string folder = (dir / "q").string(), file = (dir / "q.gguf").string();
  run_expecting(0, "lq-quantize", {checkpoint("llama3").string(), folder, "NVFP4A16"});
  run_expecting(0, "lq-convert", {folder, "-o", file, "--threads", "2", "--mem", "4M"});
  const auto inside = run_expecting(0, "lq-convert", {"inspect", "--json", file});
  const Json facts = parse_json(inside.out, "inspect");
  CHECK(facts["totals"]["types"]["NVFP4"]["tensors"] == 14);
  CHECK(facts["metadata"]["general.file_type"]["value"] == 39);
  const auto summary = run_expecting(0, "lq-convert", {"inspect", folder}).out;
  CHECK(holds(summary, "compressed-tensors: NVFP4, groups of 16"));
  CHECK(holds(summary, "F8_E4M3"));
  CHECK(holds(run_expecting(0, "lq-convert", {"--list"}).out, "bitsandbytes"));
}

TEST_CASE("lq-convert: damaged quantized folders are refused, and nothing is written") {
  const TempDir dir;
  const std::string folder = (dir / "q").string(), file = (dir / "q.gguf").string();
  run_expecting(0, "lq-quantize", {checkpoint("llama3").string(), folder, "W8A8"});
  const CheckpointCopy copy(folder);
  const std::byte infinity[] = {std::byte{0x80}, std::byte{0x7f}};
  copy.overwrite("model.layers.1.self_attn.v_proj.weight_scale", 4, infinity);
  const auto run = run_expecting(4, "lq-convert", {copy.path().string(), "-o", file});
  CHECK(holds(run.err, "v_proj.weight_scale"));
  CHECK(holds(run.err, "row 2"));
  CHECK(dir.names() == std::vector<std::string>{"q"});
}
