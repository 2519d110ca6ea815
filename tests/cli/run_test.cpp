// lq-run as users and scripts run it. One model, made once for each test case.
#include <doctest/doctest.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "lib/base/json.h"
#include "lib/text/unicode.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/models.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;
using namespace std::chrono_literals;

namespace {

constexpr char kQuestion[] = "What is the capital of France?";
constexpr char kAnswer[] = "The capital of France is Paris.";

/// The small chat model as a file.
struct Demo {
  TempDir dir;
  std::string path = convert_checkpoint(dir, "lq-demo", DType::BF16).string();

  /// Runs with the likeliest tokens; the answer.
  ToolRun ask(std::vector<std::string> arguments, const RunOptions& options = {},
              int status = 0) const {
    arguments.insert(arguments.begin(), {path, "--temp", "0", "-t", "1"});
    return run_expecting(status, "lq-run", arguments, options);
  }
  std::string refusal(int status, std::vector<std::string> arguments,
                      const RunOptions& options = {}) const {
    const auto run = ask(std::move(arguments), options, status);
    CHECK_MESSAGE(run.out.empty(), run.report());
    return run.err;
  }
};

bool has_keys(const Json& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (!object.contains(key)) {
      MESSAGE("no key " << key);
      return false;
    }
  return true;
}

}  // namespace

TEST_CASE("lq-run: the cache has the type that was asked for") {
  const Demo demo;
  for (const char* type : {"f16", "f32", "q8_0"})
    CHECK(demo.ask({kQuestion, "--kv-type", type}).out == kAnswer);
  CHECK(holds(demo.refusal(2, {kQuestion, "--kv-type", "q8"}), "q8_0"));
  const std::string narrow = convert_checkpoint(demo.dir, "smollm3", DType::F32).string();
  const auto run = run_expecting(4, "lq-run", {narrow, "a", "--raw", "--kv-type", "q8_0"});
  CHECK(run.out.empty());
  CHECK_MESSAGE(holds(run.err, "heads have 16"), run.err);
}

TEST_CASE("lq-run: an argument, standard input and a file give the same answer, and only it") {
  const Demo demo;
  const auto run = demo.ask({kQuestion});
  CHECK(run.out == kAnswer);
  CHECK(run.err.empty());
  CHECK(demo.ask({}, {.input = std::string(kQuestion) + "\n"}).out == kAnswer);
  CHECK(demo.ask({"-"}, {.input = kQuestion}).out == kAnswer);
  CHECK(demo.ask({"-f", "-"}, {.input = std::string(kQuestion) + "\r\n"}).out == kAnswer);
  const auto file = demo.dir.write("prompt.txt", std::string(kQuestion) + "\n").string();
  CHECK(demo.ask({"--file", file}).out == kAnswer);
  CHECK(demo.ask({"-q", kQuestion}).out == kAnswer);
}

TEST_CASE("lq-run: without a prompt it ends at once") {
  const Demo demo;
  CHECK(holds(demo.refusal(2, {}), "the prompt is empty"));
  CHECK(holds(demo.refusal(2, {""}), "the prompt is empty"));
  CHECK(holds(demo.refusal(2, {}, {.input = "\n"}), "the prompt is empty"));
  const auto empty = demo.dir.write("empty.txt", std::string_view()).string();
  CHECK(holds(demo.refusal(2, {"-f", empty}), "the prompt is empty"));
  CHECK(holds(demo.refusal(3, {"-f", empty + "x"}), "empty.txtx"));
  CHECK(holds(demo.refusal(2, {kQuestion, "-f", empty}), "choose one"));
}

TEST_CASE("lq-run: the beginning, the end and the length of an answer") {
  const Demo demo;
  CHECK(demo.ask({"What is the opposite of hot?", "--system", "Answer in upper case."}).out ==
        "THE OPPOSITE OF HOT IS COLD.");
  CHECK(demo.ask({kQuestion, "--stop", "Par", "--stop", "nowhere"}).out ==
        "The capital of France is ");
  CHECK(demo.ask({kQuestion, "-n", "0"}).out.empty());
  const std::vector<std::string> story = {"Tell me a story about an owl.", "-n", "12"};
  CHECK(demo.ask(story).out == "There once was a curious owl called Sam, and he");
  auto strict = story;
  strict.push_back("--fail-on-truncate");
  const auto cut = demo.ask(strict, {}, 7);
  CHECK(cut.out == "There once was a curious owl called Sam, and he");
  CHECK(cut.err == "lq-run: the answer was cut: length\n");
  CHECK(demo.ask({kQuestion, "--fail-on-truncate"}).out == kAnswer);
  const auto full = demo.ask({kQuestion, "-c", "18", "--fail-on-truncate"}, {}, 7);
  CHECK(full.err == "lq-run: the answer was cut: context\n");
  CHECK(std::string(kAnswer).starts_with(full.out));
  const auto large = demo.refusal(4, {kQuestion, "-c", "10"});
  CHECK_MESSAGE(holds(large, "the prompt has 15 tokens, the context 10"), large);
}

TEST_CASE("lq-run: what the model is given") {
  const Demo demo;
  const auto shown = demo.ask({kQuestion, "--show-prompt"});
  CHECK(shown.out == kAnswer);
  CHECK(shown.err ==
        "lq-run: prompt:\n<|im_start|>user\nWhat is the capital of "
        "France?<|im_end|>\n<|im_start|>assistant\n\n");
  const auto raw = demo.ask({"--raw", "Once upon", "-n", "3", "--show-prompt"});
  CHECK(holds(raw.err, "prompt:\nOnce upon\n"));
  CHECK(raw.out.starts_with(" a time"));
  const std::string shape = "<|im_start|>user\n{{ messages[0].content }} {{ word }}<|im_end|>\n";
  const auto other = demo.ask({"Hello", "-n", "1", "--show-prompt", "--chat-template", shape,
                               "--template-arg", "word=there"});
  CHECK(holds(other.err, "user\nHello there<|im_end|>"));
  const auto file = demo.dir.write("t.jinja", shape).string();
  CHECK(demo.ask({"Hello", "-n", "1", "--show-prompt", "--chat-template-file", file,
                  "--template-arg", "word=there"})
            .err == other.err);
  CHECK(holds(demo.refusal(2, {"x", "--template-arg", "word"}), "expected NAME=VALUE"));
  CHECK(holds(demo.refusal(3, {"x", "--chat-template-file", file + "x"}), "t.jinjax"));
  CHECK(holds(demo.refusal(2, {"x", "--chat-template-file", file, "--chat-template", "y"}),
              "--chat-template"));
  CHECK(holds(demo.refusal(4, {"x", "--chat-template", "\n{% for %}"}), "chat template:2"));
  CHECK(holds(demo.refusal(4, {"x", "--chat-template", "{{ raise_exception('not me') }}"}),
              "not me"));
}

TEST_CASE("lq-run --json: one object with all that the text has and more") {
  const Demo demo;
  const auto run = demo.ask({kQuestion, "--json", "--seed", "7", "--show-prompt"});
  CHECK(run.err.empty());
  CHECK(run.out.find('\n') == run.out.size() - 1);
  const auto json = Json::parse(run.out);
  CHECK(json["schema"] == "lq.run.answer/1");
  CHECK(json["text"] == kAnswer);
  CHECK(json["reasoning"].is_null());
  CHECK(json["tool_calls"].empty());
  CHECK(json["finish_reason"] == "stop");
  CHECK(json["usage"]["prompt_tokens"] == 15);
  CHECK(json["usage"]["cached_tokens"] == 0);
  // The ending token is generated, too, but no part of the answer.
  CHECK(json["usage"]["generated_tokens"] == json["token_ids"].size() + 1);
  for (const char* key : {"load_ns", "prompt_ns", "first_token_ns", "generate_ns",
                          "prompt_tokens_per_second", "generated_tokens_per_second"})
    CHECK_MESSAGE(json["timings"].value(key, 0.0) > 0, std::string(key));
  CHECK(json["timings"]["first_token_ns"] >= json["timings"]["prompt_ns"]);
  CHECK(json["model"]["path"] == demo.path);
  CHECK(json["model"]["architecture"] == "qwen3");
  CHECK(json["model"]["file_type"] == "BF16");
  CHECK(has_keys(json["settings"], {"context", "max_tokens", "threads", "device", "isa", "kv_type",
                                    "template", "top_k", "top_p", "min_p", "repeat_penalty"}));
  CHECK(json["settings"]["seed"] == 7);
  CHECK(json["settings"]["temperature"] == 0.0);
  CHECK(json["settings"]["threads"] == 1);
  CHECK(holds(json["prompt"], "<|im_start|>user\nWhat is the capital"));
  CHECK(has_keys(json, {"lq_version"}));
  const auto cut = demo.ask({kQuestion, "--json", "-n", "2", "--fail-on-truncate"}, {}, 7);
  CHECK(Json::parse(cut.out)["finish_reason"] == "length");
  CHECK(Json::parse(cut.err)["status"] == 7);
}

TEST_CASE("lq-run --stats: counts and speeds beside the answer") {
  const auto run = Demo().ask({kQuestion, "--stats"});
  CHECK(run.out == kAnswer);
  CHECK(run.err.starts_with("lq-run: 15 prompt tokens (0 cached) "));
  CHECK(run.err.ends_with(" ms\n"));
}

TEST_CASE("lq-run: a seed makes a random answer reproducible") {
  const Demo demo;
  const auto story = [&](const char* seed) {
    return run_expecting(0, "lq-run",
                         {demo.path, "--raw", "Once upon", "-n", "16", "--temp", "1.5", "--top-k",
                          "0", "--top-p", "1", "--min-p", "0", "--seed", seed})
        .out;
  };
  const auto first = story("1");
  CHECK(first == story("1"));
  CHECK((first != story("2") || first != story("3")));
  const auto seed = [&] {
    const auto run = run_expecting(0, "lq-run", {demo.path, "x", "-n", "1", "--json"});
    return Json::parse(run.out)["settings"]["seed"];
  };
  CHECK(seed() != seed());
}

TEST_CASE("lq-run: options that make no sense") {
  const Demo demo;
  CHECK(holds(demo.refusal(2, {"x", "-n", "-2"}), "'-2' is not a whole number from -1"));
  CHECK(holds(demo.refusal(2, {"x", "--seed", "abc"}), "--seed: 'abc' is not a whole number"));
  CHECK(holds(demo.refusal(2, {"x", "--seed", "-1"}), "'-1' is not a whole number from 0 up"));
  CHECK(holds(demo.refusal(2, {"x", "--top-p", "1.5"}), "'1.5' is not a number from 0 to 1"));
  CHECK(holds(demo.refusal(2, {"x", "--tokenise", "y"}), "did you mean '--tokenize'?"));
  CHECK(holds(demo.refusal(2, {"x", "--device", "gpu"}), "not one of cpu, cuda"));
  CHECK(holds(demo.refusal(2, {"x", "--add-special"}), "go with --tokenize"));
  CHECK(holds(demo.refusal(2, {"x", "y"}), "unexpected argument 'y'"));
  CHECK(holds(run_expecting(2, "lq-run", {}).err, "MODEL is required"));
  CHECK(holds(demo.refusal(2, {"x"}, {.env = {{"LQ_CPU_ISA", "avx9"}}}), "'avx9'"));
  const auto generic = demo.ask({kQuestion, "--json"}, {.env = {{"LQ_CPU_ISA", "generic"}}});
  CHECK(Json::parse(generic.out)["settings"]["isa"] == "generic");
  CHECK(Json::parse(generic.out)["text"] == kAnswer);
}

TEST_CASE("lq-run: models that are none, and devices that are not there") {
  const TempDir dir;
  const auto said = [](int status, const std::string& model) {
    const auto run = run_expecting(status, "lq-run", {model, "x"});
    CHECK_MESSAGE(run.out.empty(), run.report());
    return run.err;
  };
  CHECK(holds(said(3, (dir / "missing.gguf").string()), "missing.gguf: cannot open"));
  CHECK(holds(said(4, dir.path().string()), "has no config.json"));
  CHECK(holds(said(4, lq::test::testdata("models/lq-demo/model.safetensors")),
              "lq-convert makes a GGUF file"));
  CHECK(holds(said(4, dir.write("text.gguf", "Hello, world, I am no model").string()),
              "text.gguf: "));
  const auto file = dir.write("tiny.gguf", tiny_llama().build()).string();
  const auto cuda = run_tool("lq-run", {file, "x", "--device", "cuda"});
  if (cuda.status != 0) {
    expect_status(cuda, 4);
    CHECK(cuda.err.find('\n') == cuda.err.size() - 1);
    CHECK(holds(cuda.err, "use device cpu"));
  }
}

TEST_CASE("lq-run: characters are never cut, also when tokens are single bytes") {
  const TempDir dir;
  const auto file = dir.write("bytes.gguf", tiny_llama().build()).string();
  const auto run =
      run_expecting(0, "lq-run",
                    {file, "--raw", "\xc3\xa4", "-n", "200", "-c", "256", "--temp", "3", "--top-k",
                     "0", "--top-p", "1", "--min-p", "0", "--seed", "5"});
  CHECK(run.out.size() > 100);
  CHECK(utf8_valid_bytes(run.out, 0) == run.out.size());
}

TEST_CASE("lq-run: a reader that leaves, a full disk, an interrupt") {
  const Demo demo;
  // Its likeliest tokens repeat for ever.
  const auto endless = demo.dir.write("endless.gguf", tiny_llama().build());
  const std::string story =
      "lq-run " + endless.string() + " --raw a1 -t 1 -n 1000000 -c 1000000 --temp 0";
  const auto left = run_shell("{ " + story + "; echo $? >status; } | head -c 20; cat status");
  CHECK_MESSAGE(left.out.ends_with("0\n"), left.report());
  CHECK(left.err.empty());
  CHECK(left.wall < 20s);
  const auto full =
      run_expecting(3, "lq-run", {demo.path, kQuestion}, {.stdout_path = "/dev/full"});
  CHECK(full.err == "lq-run: stdout: No space left on device\n");
  RunOptions interrupted;
  interrupted.signal = SIGINT;
  interrupted.signal_after = 700ms;
  const auto stopped = run_shell("exec " + story + " --json", interrupted);
  expect_status(stopped, 130);
  const auto json = Json::parse(stopped.out, nullptr, false);
  REQUIRE_MESSAGE(json.is_object(), stopped.report());
  CHECK(json["finish_reason"] == "interrupted");
}
