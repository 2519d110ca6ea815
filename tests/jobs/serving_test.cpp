// What engines load, against the shapes of models.
#include "lib/jobs/serving.h"

#include <doctest/doctest.h>

#include "tests/support/errors.h"

namespace lq {
namespace {

/// A decoder layer.
ServedModel model_of(std::uint64_t hidden, std::uint64_t kv, std::uint64_t inner) {
  return {.modules = {{"l.q_proj", hidden, hidden, true},
                      {"l.k_proj", kv, hidden, true},
                      {"l.v_proj", kv, hidden, true},
                      {"l.o_proj", hidden, hidden, true},
                      {"l.gate_proj", inner, hidden, true},
                      {"l.up_proj", inner, hidden, true},
                      {"l.down_proj", hidden, inner, true}},
          .n_heads = 32,
          .n_kv_heads = 8};
}

std::string problems_of(const char* target, const char* scheme, const SchemeChoices& choices,
                        const ServedModel& model) {
  std::string text;
  for (const std::string& one : serving_problems(
           parse_serve_target(target), with_choices(*find_weight_scheme(scheme), choices), model))
    text += one + "\n";
  return text;
}

std::string nearest_of(const char* target, const char* scheme, const SchemeChoices& choices,
                       const ServedModel& model) {
  return nearest_served(parse_serve_target(target),
                        with_choices(*find_weight_scheme(scheme), choices), model);
}

}  // namespace

TEST_CASE("a large model is served as every engine's documentation says") {
  const ServedModel model = model_of(4096, 1024, 14336);
  CHECK(problems_of("vllm:tp=8", "W4A16", {}, model) == "");
  CHECK(problems_of("vllm", "W4A16_ASYM", {.format = "awq"}, model) == "");
  CHECK(problems_of("vllm", "W4A16", {.format = "gptq"}, model) == "");
  CHECK(problems_of("vllm:tp=8", "FP8_BLOCK", {}, model) == "");
  CHECK(problems_of("transformers", "NF4", {.double_quant = true}, model) == "");
  CHECK(problems_of("trtllm:tp=4", "W4A16", {.format = "modelopt"}, model) == "");
  CHECK(problems_of("sglang:tp=2", "W4A16", {}, model) == "");
}

TEST_CASE("formats that an engine does not load get the nearest that it does") {
  const ServedModel model = model_of(4096, 1024, 14336);
  CHECK(problems_of("vllm", "NF4", {}, model) ==
        "it cannot run NF4 in the format bitsandbytes by itself\n");
  CHECK(nearest_of("vllm", "W4A16_ASYM", {.format = "gptq_v2"}, model) == "W4A16_ASYM");
  CHECK(nearest_of("transformers", "W4A16_ASYM", {}, model) == "W4A16_ASYM --format gptq_v2");
  CHECK(nearest_of("trtllm", "W4A16", {}, model) == "W4A16 --format modelopt");
  CHECK(nearest_of("trtllm", "FP8", {}, model) == "FP8_DYNAMIC");
  CHECK(nearest_of("vllm", "W3A16", {}, model).starts_with("W4A"));
  CHECK(problems_of("vllm", "FP8", {.format = "fp8"}, model) == "");
  CHECK(problems_of("vllm", "NVFP4", {}, model) == "");
  CHECK(nearest_of("transformers", "FP8", {.format = "fp8"}, model) == "FP8");
  for (const Engine& engine : engines()) {
    CHECK(problems_of(engine.name.c_str(), "FP8", {.format = "fp8", .float8 = "e5m2"}, model) ==
          "it cannot run FP8 of E5M2 numbers in the format fp8 by itself\n");
    CHECK(nearest_of(engine.name.c_str(), "FP8_BLOCK", {.format = "fp8", .float8 = "e5m2"},
                     model) == "FP8_BLOCK --format fp8");
  }
}

TEST_CASE("shares of GPUs have to be whole groups, words and blocks") {
  const ServedModel model = model_of(4096, 1024, 11008);
  CHECK(problems_of("vllm:tp=4", "W4A16", {}, model) ==
        "l.down_proj: 2752 columns on each of 4 GPUs are no multiple of 128\n");
  CHECK(nearest_of("vllm:tp=4", "W4A16", {}, model) == "W4A16 --group-size 64");
  CHECK(problems_of("vllm:tp=3", "W4A16", {}, model).find("32 attention heads cannot be shared") !=
        std::string::npos);
  CHECK(problems_of("vllm:tp=16", "W4A16", {.group_size = "channel"}, model) == "");
  // k is no multiple of 128 and lies in front of v.
  const ServedModel narrow = model_of(256, 64, 512);
  CHECK(problems_of("vllm", "FP8_BLOCK", {}, narrow) ==
        "l.k_proj: 64 rows in front of a fused part are no whole blocks of 128\n");
  CHECK(nearest_of("vllm", "FP8_BLOCK", {}, narrow) == "FP8_DYNAMIC");
}

TEST_CASE("experts are served in the formats in which engines load them") {
  ServedModel model = model_of(4096, 1024, 14336);
  model.modules.push_back({"l.experts.0.w1", 14336, 4096, true});
  CHECK(problems_of("transformers", "FP8_BLOCK", {}, model) ==
        "l.experts.0.w1: experts in this format are not loaded\n");
  CHECK(nearest_of("transformers", "FP8_BLOCK", {}, model) == "FP8_BLOCK --format fp8");
  CHECK(problems_of("vllm", "FP8_BLOCK", {}, model) == "");
  CHECK(problems_of("trtllm", "FP8_BLOCK", {}, model) == "");
  for (const char* scheme : {"FP8_DYNAMIC", "W4A16"})
    CHECK(problems_of("trtllm", scheme,
                      {.format = scheme[0] == 'W' ? "modelopt" : "compressed-tensors"},
                      model) == "l.experts.0.w1: experts in this format are not loaded\n");
  model.modules.push_back({"l.experts.0.w2", 4096, 64, true});
  CHECK(problems_of("vllm", "FP8_BLOCK", {}, model) ==
        "l.experts.0.w2: 64 columns are no multiple of 128\n");
}

TEST_CASE("what an engine runs as one is quantized together") {
  ServedModel model = model_of(4096, 1024, 14336);
  model.modules[1].quantized = false;
  const std::string problems = problems_of("vllm", "W4A16", {}, model);
  CHECK(problems.find("l.q_proj: is run as one with k_proj") != std::string::npos);
  CHECK(problems_of("transformers", "W4A16", {}, model) == "");
}

TEST_CASE("engines are named as in the list") {
  CHECK(parse_serve_target("vllm:tp=4").n_gpus == 4);
  for (const char* text : {"vlm", "vllm:", "vllm:tp=", "vllm:tp=0", "vllm:tp=2x", "vllm:pp=2",
                           "vllm:tp=99999", "transformers:tp=2", ""}) {
    CAPTURE(std::string(text));
    CHECK(test::message_of(ErrorKind::usage, [&] {
            parse_serve_target(text);
          }).find("--serve-with") != std::string::npos);
  }
  CHECK(test::message_of(ErrorKind::usage, [] {
          parse_serve_target("vlm");
        }).find("engines are vllm, transformers, trtllm, sglang") != std::string::npos);
}

}  // namespace lq
