#include "tests/support/quantized_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "lib/base/random.h"
#include "lib/format/safetensors_writer.h"
#include "lib/io/text_file.h"
#include "lib/jobs/checkpoint.h"

namespace lq::test {
namespace {

std::vector<QuantizedCase> make_cases() {
  std::vector<QuantizedCase> cases;
  for (const char* size : {"32", "64", "128", "channel"}) {
    const std::string end = std::string("-") + size;
    cases.push_back({"w4" + end, "W4A16", {.group_size = size}});
    cases.push_back({"w4a" + end, "W4A16_ASYM", {.group_size = size}});
    cases.push_back({"w8" + end, "W8A16", {.group_size = size}});
  }
  for (const char* format : {"gptq", "gptq_v2"})
    for (const char* scheme : {"W4A16", "W8A16", "W2A16", "W3A16"})
      cases.push_back(
          {std::string(format) + "-" + scheme, scheme, {.format = format, .group_size = "32"}});
  const QuantizedCase others[] = {
      {"w3-32", "W3A16", {.group_size = "32"}},
      {"w2-32", "W2A16"},
      {"w8a8", "W8A8"},
      {"w4afp8", "W4AFP8", {.group_size = "32"}},
      {"w4-f32", "W4A16", {.group_size = "32", .scale_type = "f32"}},
      {"fp8", "FP8"},
      {"fp8dyn", "FP8_DYNAMIC"},
      {"fp8block", "FP8_BLOCK"},
      {"fp8inv", "FP8_BLOCK", {.format = "fp8"}},
      {"nvfp4", "NVFP4A16"},
      {"mxfp4", "MXFP4A16"},
      {"mxfp8", "MXFP8"},
      {"nf4", "NF4"},
      {"nf4d", "NF4", {.double_quant = true}},
      {"fp4", "FP4"},
      {"fp4d", "FP4", {.double_quant = true}},
      {"int8", "INT8"},
      {"gptq-ch", "W4A16", {.format = "gptq", .group_size = "channel"}},
      {"gptq_v2-asym", "W4A16_ASYM", {.format = "gptq_v2", .group_size = "32"}},
      {"awq", "W4A16_ASYM", {.format = "awq", .group_size = "32"}},
      {"awq-64", "W4A16_ASYM", {.format = "awq", .group_size = "64"}},
      {"modelopt", "W4A16", {.format = "modelopt", .group_size = "32"}}};
  cases.insert(cases.end(), std::begin(others), std::end(others));
  return cases;
}

}  // namespace

std::span<const QuantizedCase> quantized_cases() {
  static const std::vector<QuantizedCase> kCases = make_cases();
  return kCases;
}

const QuantizedCase& quantized_case(std::string_view name) {
  for (const QuantizedCase& one : quantized_cases())
    if (one.name == name) return one;
  throw std::logic_error("no such case");
}

void write_quantized(const std::filesystem::path& checkpoint, const QuantizedCase& how,
                     const std::filesystem::path& folder) {
  Monitor monitor;
  const HfModel source = open_hf_model(checkpoint, {}, monitor);
  CheckpointOptions options;
  options.scheme = with_choices(*find_weight_scheme(how.scheme), how.choices);
  CheckpointPlan plan = make_checkpoint_plan(source, options);
  write_checkpoint(plan, folder, {}, monitor);
}

void write_one_matrix(const std::filesystem::path& folder, std::uint64_t rows, std::uint64_t cols) {
  std::filesystem::create_directories(folder);
  write_text(folder / "config.json",
             R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})",
             Existing::replace);
  Random random(1);
  std::vector<float> values(rows * cols);
  for (float& value : values) value = static_cast<float>(random.uniform() - 0.5);
  const SafetensorsEntry entries[] = {
      {"model.layers.0.mlp.up_proj.weight", "F32", {rows, cols}, values.size() * sizeof(float)}};
  SafetensorsWriter writer(folder / "model.safetensors", entries);
  writer.write(0, 0, std::as_bytes(std::span(values)));
  writer.commit();
}

}  // namespace lq::test
