#include "tests/support/golden_layouts.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/sha256.h"
#include "lib/format/safetensors.h"
#include "lib/jobs/linear_bitsandbytes.h"
#include "tests/support/places.h"

namespace lq::test {
namespace {

const std::vector<std::vector<std::string>> kFusedModules = {
    {"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}, {"w1", "w3"}};

std::vector<std::string> fused_with(const std::string& module) {
  const auto dot = module.rfind('.');
  const std::string stem = module.substr(0, dot + 1), leaf = module.substr(dot + 1);
  for (const auto& set : kFusedModules) {
    if (!std::count(set.begin(), set.end(), leaf)) continue;
    std::vector<std::string> names;
    for (const std::string& one : set) names.push_back(stem + one);
    return names;
  }
  return {module};
}

/// bfloat16 of the sum of four 16-bit numbers out of splitmix64, which starts at the key's SHA-256.
std::vector<float> generated_values(const std::string& key, std::size_t n, double deviation,
                                    double mean) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(key)));
  const Sha256::Digest digest = hash.finish();
  std::uint64_t state = 0;
  for (int i = 7; i >= 0; --i) state = state << 8 | digest[static_cast<std::size_t>(i)];
  const double factor = deviation / std::sqrt(4 * (65536.0 * 65536.0 - 1) / 12);
  std::vector<float> values(n);
  for (float& value : values) {
    state += 0x9E3779B97F4A7C15;
    std::uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    const std::uint64_t sum =
        (z & 0xffff) + ((z >> 16) & 0xffff) + ((z >> 32) & 0xffff) + (z >> 48);
    const auto whole = static_cast<float>((static_cast<double>(sum) - 131070.0) * factor + mean);
    std::uint16_t stored;
    traits(DType::BF16).encode(&whole, nullptr, &stored, 1);
    traits(DType::BF16).decode(&stored, &value, 1);
  }
  return values;
}

void add(GoldenModel& model, const std::string& name, GoldenMatrix matrix) {
  if (!name.ends_with(".weight")) return;
  matrix.linear.module = name.substr(0, name.size() - 7);
  matrix.linear.fused = fused_with(matrix.linear.module).size() > 1;
  model.emplace(matrix.linear.module, std::move(matrix));
}

}  // namespace

GoldenModel golden_model(const std::string& name, const Json& sources) {
  GoldenModel model;
  if (sources.contains(name)) {
    for (const auto& [tensor, rule] : sources.at(name).items()) {
      const auto shape = rule[0].get<std::vector<std::uint64_t>>();
      if (shape.size() != 2) continue;
      add(model, tensor,
          {{.rows = shape[0], .cols = shape[1]},
           generated_values("1/1/" + name + "/" + tensor, shape[0] * shape[1], rule[1], rule[2])});
    }
    return model;
  }
  const SafetensorsReader source(
      std::filesystem::path(testdata("models/toys/" + name + "/model.safetensors")));
  for (std::size_t i = 0; i < source.tensors().size(); ++i) {
    const TensorInfo& info = source.tensors()[i];
    GoldenMatrix matrix{{.rows = info.rows(), .cols = info.row_length(), .type = info.type}, {}};
    matrix.values.resize(info.elements());
    traits(info.type).decode(source.data(i).data(), matrix.values.data(), matrix.values.size());
    add(model, info.name, std::move(matrix));
  }
  return model;
}

void measure_golden(const WeightScheme& scheme, const GoldenModel& all, Linear& linear) {
  const auto& groups = kernels::kernel_table("generic")->groups[0];
  const auto largest = [&](std::span<const float> values) {
    return groups.largest_magnitude(values.data(), values.size());
  };
  linear.largest = 0;
  linear.largest_input = 1;
  std::vector<std::string> names = {linear.module};
  if (scheme.number == WeightNumber::nvfp4) names = fused_with(linear.module);
  for (const std::string& name : names)
    linear.largest = std::max(linear.largest, largest(all.at(name).values));
  const std::span<const float> values = all.at(linear.module).values;
  std::vector<float> scales;
  for (std::size_t at = 0; at + 64 <= values.size(); at += 64)
    scales.push_back(largest(values.subspan(at, 64)));
  linear.mean_scale = mean_scale(scales);
}

LinearBytes encoded(const LinearEncoder& encoder, const GoldenMatrix& matrix) {
  LinearBytes bytes = encoder.allocate(matrix.linear);
  EncoderMemory memory;
  for (std::uint64_t first = 0; first < matrix.linear.rows; first += kLinearChunk) {
    const std::uint64_t last = std::min(matrix.linear.rows, first + kLinearChunk);
    encoder.encode(matrix.linear, first,
                   std::span(matrix.values)
                       .subspan(first * matrix.linear.cols, (last - first) * matrix.linear.cols),
                   0, bytes, memory);
  }
  encoder.finish(matrix.linear, bytes);
  return bytes;
}

}  // namespace lq::test
