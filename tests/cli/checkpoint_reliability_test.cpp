// lq-quantize FOLDER OUTPUT SCHEME when it is killed, when a disk fails, and when a file comes back
// different.
#include <doctest/doctest.h>

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/json.h"
#include "lib/base/random.h"
#include "tests/support/errors.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

namespace {

ToolRun checkpoint_with_fault(const std::string& fault, const std::vector<std::string>& arguments) {
  return run_tool("lq-quantize", arguments,
                  {.env = {{"LD_PRELOAD", faults_library()},
                           {"LQ_FAULT", fault},
                           {"ASAN_OPTIONS", "verify_asan_link_order=0"}}});
}

/// Names and bytes of the files with weights, and of their index.
std::map<std::string, std::string> weights_in(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (const std::string name = entry.path().filename().string(); name.starts_with("model"))
      files[name] = file_content(entry.path().string());
  return files;
}

}  // namespace

TEST_CASE("calls of the system that fail leave no checkpoint") {
  const TempDir dir;
  const std::string model = testdata("models/toys/llama3"), out = (dir / "out").string();
  struct Fault {
    std::string fault;
    const char* why;
  };
  const Fault faults[] = {
      {"pwrite:1:" + std::to_string(ENOSPC), "no space left"},
      {"pwrite:9:" + std::to_string(ENOSPC), "no space left"},
      {"pwrite:20:" + std::to_string(EIO), "input/output error"},
      {"fallocate:1:" + std::to_string(ENOSPC), "no space left"},
      {"fsync:1:" + std::to_string(EIO), "input/output error"},
      {"linkat:1:" + std::to_string(EDQUOT), "quota"},
  };
  for (const Fault& one : faults) {
    CAPTURE(one.fault);
    const auto run = checkpoint_with_fault(one.fault, {model, out, "W4A16", "-t", "2"});
    CHECK_MESSAGE(run.status == 3, run.report());
    CHECK_MESSAGE(holds(run.err, one.why), run.report());
    CHECK(dir.names().empty());
  }
}

TEST_CASE("a checkpoint that is read back different is not given its name") {
  const TempDir dir;
  const std::string model = testdata("models/toys/llama3"), out = (dir / "out").string();
  int n_caught = 0;
  for (const char* scheme : {"W4A16_ASYM", "FP8_DYNAMIC", "NF4", "NVFP4A16", "INT8"})
    for (int at = 3; at < 30; at += 4) {  // the first two are the header
      CAPTURE(std::string(scheme));
      CAPTURE(at);
      const auto run = checkpoint_with_fault("flip:" + std::to_string(at) + ":0",
                                             {model, out, scheme, "-t", "1", "-q"});
      CHECK_MESSAGE(run.status == 6, run.report());
      CHECK_MESSAGE(holds(run.err, "read back differs"), run.report());
      CHECK(dir.names().empty());
      ++n_caught;
    }
  CHECK(n_caught == 5 * 7);
}

TEST_CASE("a folder in which nothing can be created is named, and nothing is left") {
  const TempDir dir;
  const std::string model = testdata("models/toys/llama3");
  std::filesystem::create_directory(dir / "parent");
  std::filesystem::permissions(
      dir / "parent", std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  // The superuser may write everywhere: then a file system that nobody can write to.
  const bool forbidden = ::access((dir / "parent").c_str(), W_OK) != 0;
  const std::string out = forbidden ? (dir / "parent/out").string() : "/proc/out";
  const auto run = run_expecting(3, "lq-quantize", {model, out, "W4A16"});
  CHECK_MESSAGE(holds(run.err, out + ".lq-partial: cannot create"), run.report());
  CHECK(std::filesystem::is_empty(dir / "parent"));
}

TEST_CASE("killed at random moments, the next run completes the checkpoint") {
  const TempDir dir;
  const std::string model = testdata("models/lq-demo"), out = (dir / "out").string();
  const auto undisturbed = run_expecting(0, "lq-quantize", {model, out, "W4A16", "-t", "2", "-q"});
  const auto expected = weights_in(out);
  std::filesystem::remove_all(out);
  Random random(9);
  int n_killed = 0;
  for (int i = 0; i < 50; ++i) {
    const auto after = std::chrono::milliseconds(
        1 + static_cast<int>(random.uniform() * static_cast<double>(undisturbed.wall.count())));
    const auto run = run_tool("lq-quantize", {model, out, "W4A16", "-t", "2", "-q"},
                              {.signal = SIGKILL, .signal_after = after});
    n_killed += run.status == 128 + SIGKILL ? 1 : 0;
    if (!std::filesystem::exists(out))
      run_expecting(0, "lq-quantize", {model, out, "W4A16", "-t", "2", "-q"});
    CHECK((weights_in(out) == expected));
    CHECK(dir.names().size() == 1);
    std::filesystem::remove_all(out);
  }
  CHECK(n_killed > 0);
}

TEST_CASE("killed at random moments, --resume keeps what is done and completes the checkpoint") {
  const TempDir dir;
  const std::string model = testdata("models/lq-demo"), out = (dir / "out").string();
  const std::vector<std::string> resumable = {model, out, "W2A16", "--method", "mse",
                                              "-t",  "2", "-q",    "--resume", "--max-shard-size",
                                              "1M"};
  const auto undisturbed = run_expecting(0, "lq-quantize", resumable);
  const auto expected = weights_in(out);
  CHECK(dir.names().size() == 1);
  std::filesystem::remove_all(out);
  Random random(10);
  int n_killed = 0, n_continued = 0;
  for (int i = 0; i < 50; ++i) {
    const auto after = std::chrono::milliseconds(
        1 + static_cast<int>(random.uniform() * static_cast<double>(undisturbed.wall.count())));
    const auto run = run_tool("lq-quantize", resumable, {.signal = SIGKILL, .signal_after = after});
    n_killed += run.status == 128 + SIGKILL ? 1 : 0;
    // A signal may come between the folder's name and the end of the process.
    if (run.status != 0 && !std::filesystem::exists(out)) {
      const auto again = run_expecting(0, "lq-quantize", resumable);
      n_continued += holds(again.err, "going on") ? 1 : 0;
    }
    CHECK((weights_in(out) == expected));
    CHECK(dir.names().size() == 1);
    std::filesystem::remove_all(out);
  }
  CHECK(n_killed > 0);
  MESSAGE(n_killed << " runs killed, " << n_continued << " continued");
}

TEST_CASE("a checkpoint of another scheme is not mixed with what was kept") {
  const TempDir dir;
  const std::string model = testdata("models/toys/llama3"), out = (dir / "out").string();
  const std::vector<std::string> resumable = {model, out, "W4A16", "--resume", "-t", "1"};
  CHECK(checkpoint_with_fault("pwrite:30:" + std::to_string(ENOSPC), resumable).status == 3);
  CHECK(!std::filesystem::exists(out));
  CHECK(std::filesystem::exists(out + ".lq-partial"));
  const auto other = run_expecting(2, "lq-quantize", {model, out, "W8A16", "--resume"});
  CHECK(holds(other.err, "of another input, other options"));
  const auto again = run_expecting(0, "lq-quantize", resumable);
  CHECK_MESSAGE(holds(again.err, "going on"), again.report());
  run_expecting(0, "lq-quantize", {model, (dir / "whole").string(), "W4A16", "-q"});
  CHECK((weights_in(out) == weights_in(dir / "whole")));
  CHECK(dir.names().size() == 2);
}

TEST_CASE("memory is bounded by working on fewer rows at once, or refused") {
  const TempDir dir;
  const std::string model = testdata("models/lq-demo"), out = (dir / "out").string();
  const auto small = run_expecting(5, "lq-quantize", {model, out, "W8A16", "--mem", "100K"});
  CHECK_MESSAGE(holds(small.err, "bytes of memory with one thread; the limit is"), small.report());
  CHECK(dir.names().empty());
  run_expecting(0, "lq-quantize", {model, out, "W8A16", "--mem", "4M", "-t", "16", "-q"});
  run_expecting(0, "lq-quantize", {model, (dir / "whole").string(), "W8A16", "-q"});
  CHECK((weights_in(out) == weights_in(dir / "whole")));
}

TEST_CASE("an engine that would not load a checkpoint is told before the work") {
  const TempDir dir;
  const std::string model = testdata("models/toys/llama3"), out = (dir / "out").string();
  const auto refused = [&](int status, std::vector<std::string> arguments, const char* why) {
    arguments.insert(arguments.begin(), {model, out});
    const auto run = run_expecting(status, "lq-quantize", arguments);
    CHECK_MESSAGE(holds(run.err, why), run.report());
    CHECK(dir.names().empty());
  };
  refused(4, {"FP8_BLOCK", "--serve-with", "vllm"}, "the nearest that works: FP8_DYNAMIC");
  refused(4, {"NF4", "--serve-with", "vllm"}, "it cannot run NF4");
  refused(4, {"W4A16", "--serve-with", "vllm:tp=8"}, "the nearest that works: W4A16 --group-size");
  refused(4, {"W4A16", "--ignore", "q_proj", "--serve-with", "vllm"}, "--ignore both or none");
  refused(2, {"W4A16", "--serve-with", "vlm"}, "engines are vllm");
  refused(2, {"W4A16", "--format", "awq"}, "it holds W4A16_ASYM");
  refused(2, {"W4A16", "--method", "hqq"}, "methods for it are rtn, mse");
  refused(2, {"W4A16", "--double-quant"}, "scales of NF4 and FP4");
  run_expecting(0, "lq-quantize", {model, out, "W4A16", "--serve-with", "vllm:tp=2", "-q"});
}

TEST_CASE("checkpoints of every format are the same for any number of threads") {
  const TempDir dir;
  const std::string model = testdata("models/toys/qwen3");
  const std::vector<std::vector<std::string>> settings = {
      {"W4A16", "--format", "gptq"},     {"W3A16", "--format", "gptq_v2"},
      {"W4A16_ASYM", "--format", "awq"}, {"W4A16", "--format", "modelopt"},
      {"NF4", "--double-quant"},         {"W4A16_ASYM", "--method", "hqq"},
      {"W2A16", "--method", "mse"},      {"FP8_BLOCK", "--scale-dtype", "f32"}};
  for (std::size_t i = 0; i < settings.size(); ++i) {
    std::string first;
    for (const char* threads : {"1", "3"}) {
      const auto out = dir / (std::to_string(i) + threads);
      std::vector<std::string> arguments = {model, out.string(), "-q", "-t", threads};
      arguments.insert(arguments.end(), settings[i].begin(), settings[i].end());
      CAPTURE(arguments);
      run_expecting(0, "lq-quantize", arguments,
                    {.env = {{"LQ_CPU_ISA", first.empty() ? "generic" : ""}}});
      const std::string bytes = file_content(out / "model.safetensors");
      if (first.empty()) first = bytes;
      CHECK((bytes == first));
    }
  }
}

TEST_CASE("ModelOpt's configuration is a file of its own") {
  const TempDir dir;
  const auto out = dir / "out";
  run_expecting(0, "lq-quantize",
                {testdata("models/toys/llama3"), out.string(), "W4A16", "--format", "modelopt"});
  const auto config = Json::parse(file_content(out / "config.json"));
  CHECK(!config.contains("quantization_config"));
  const auto own = Json::parse(file_content(out / "hf_quant_config.json"));
  CHECK(own.at("quantization").at("quant_algo") == "W4A16_AWQ");
  CHECK(own.at("quantization").at("exclude_modules") == Json{"lm_head"});
  const auto again = run_expecting(4, "lq-quantize", {out.string(), (dir / "2").string(), "W8A16"});
  CHECK_MESSAGE(holds(again.err, "hf_quant_config.json: says that the model is quantized"),
                again.report());
}
