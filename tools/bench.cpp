// lq-bench: how fast models run here, and how well.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/jobs/bench_speed.h"
#include "tools/bench_kernels.h"
#include "tools/bench_quality.h"
#include "tools/cli/options.h"
#include "tools/cli/tool.h"
#include "tools/kv_type.h"

namespace {

using namespace lq;

struct Options {
  std::vector<std::string> models;
  std::vector<int> n_prompt = {512}, n_generate = {128}, depth = {0}, threads;
  int repetitions = 5;
  std::string output = "md", kv_type = "f16";
  bool exact = false, no_hash = false;
} options;

CLI::Option* add_list(CLI::App& app, const char* names, std::vector<int>& list, const char* help) {
  return app.add_option(names, list, help)->delimiter(',')->allow_extra_args(false);
}

void declare(CLI::App& app) {
  app.add_option("MODEL", options.models, "models to measure: GGUF files or Hugging Face folders")
      ->required();
  add_list(app, "-p,--n-prompt", options.n_prompt,
           "tokens of the prompt to process; 0: none; a list with commas")
      ->check(cli::whole_number(0, 1 << 20))
      ->capture_default_str();
  add_list(app, "-n,--n-gen", options.n_generate, "tokens to generate; 0: none; a list with commas")
      ->check(cli::whole_number(0, 1 << 20))
      ->capture_default_str();
  add_list(app, "-d,--depth", options.depth,
           "tokens that are in the cache before each case; a list with commas")
      ->check(cli::whole_number(0, 1 << 20))
      ->capture_default_str();
  add_list(app, "-t,--threads", options.threads,
           "threads; a list with commas; without it as many as the process may use")
      ->check(cli::whole_number(1, 1024));
  app.add_option("-r,--repetitions", options.repetitions,
                 "counted runs of each case, after one that is not")
      ->check(cli::whole_number(1, 1000))
      ->capture_default_str();
  add_kv_type(app, options.kv_type, "q8_0 halves what long texts read")->capture_default_str();
  app.add_option("-o,--output", options.output, "form of the report; json is the same as --json")
      ->check(cli::choice({"md", "json"}))
      ->capture_default_str();
  app.add_flag("--exact", options.exact,
               "decode weights to binary32 instead of rounding what they are multiplied with");
  app.add_flag("--no-hash", options.no_hash, "leave out the SHA-256 of the model files");
}

std::string row(const std::string& model, const std::string& type, const std::string& size,
                const std::string& backend, const std::string& threads, const std::string& test,
                const std::string& rate, const std::string& first, const std::string& share) {
  char text[512];
  std::snprintf(
      text, sizeof text, "| %-28s | %-*s | %10s | %-15s | %7s | %-10s | %20s | %14s | %11s |\n",
      model.c_str(), static_cast<int>(longest_type_name()), type.c_str(), size.c_str(),
      backend.c_str(), threads.c_str(), test.c_str(), rate.c_str(), first.c_str(), share.c_str());
  return text;
}

std::string header() {
  std::string rule = row("", "", "", "", "", "", "", "", "");
  for (std::size_t i = 0; i + 1 < rule.size(); ++i)
    if (rule[i] == ' ') rule[i] = '-';
  return row("model", "type", "size", "backend", "threads", "test", "tokens/s", "first token",
             "% of memory") +
         rule;
}

template <class... Values>
std::string formatted(const char* format, Values... values) {
  char text[64];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::string case_row(const BenchCase& c) {
  const Spread rate = c.tokens_per_second();
  const bool prompt = c.kind == BenchKind::prompt;
  std::vector<double> first(c.first_token_ns.begin(), c.first_token_ns.end());
  return row(std::filesystem::path(c.model).filename().string(), c.weight_type,
             cli::human_bytes(static_cast<double>(c.model_bytes)), c.device + " " + c.isa,
             std::to_string(c.threads),
             (prompt ? "pp" : "tg") + std::to_string(c.tokens()) +
                 (c.depth > 0 ? "@" + std::to_string(c.depth) : ""),
             formatted("%.1f +- %.1f%s", rate.median, rate.mad, c.unsteady() ? " !" : ""),
             prompt ? formatted("%.1f ms", spread_of(first).median * 1e-6) : "",
             prompt ? "" : formatted("%.0f %%", c.percent_of_bandwidth()));
}

void print_machine(const BenchReport& report) {
  const MachineFacts& m = report.machine;
  double bandwidth = 0;
  bool unsteady = false;
  for (const BenchCase& c : report.cases) {
    bandwidth = std::max(bandwidth, c.bandwidth);
    unsteady = unsteady || c.unsteady();
  }
  cli::print("\n" + m.cpu + ", " + std::to_string(m.cores) + " cores (" + m.instruction_sets +
             "), memory read at " + formatted("%.1f GB/s", bandwidth * 1e-9) + "\n");
  cli::print("pp: prompt processing, tg: generation, @: tokens before it; medians of " +
             std::to_string(options.repetitions) + " runs +- median absolute deviation\n");
  if (unsteady)
    cli::print("!: the machine was not steady; differences of a few per cent mean nothing\n");
}

void execute(const cli::Context& context) {
  const bool json = context.json || options.output == "json";
  BenchOptions bench{.models = {options.models.begin(), options.models.end()},
                     .n_prompt = options.n_prompt,
                     .n_generate = options.n_generate,
                     .depth = options.depth,
                     .threads = options.threads,
                     .repetitions = options.repetitions,
                     .kv_type = *dtype_named(options.kv_type),
                     .exact = options.exact,
                     .hash = json && !options.no_hash};
  if (bench.threads.empty()) bench.threads = {available_threads()};
  const auto is_zero = [](int n) { return n == 0; };
  if (std::ranges::all_of(bench.n_prompt, is_zero) &&
      std::ranges::all_of(bench.n_generate, is_zero))
    fail(ErrorKind::usage, "nothing to measure: both --n-prompt and --n-gen are 0");
  bool begun = false;  // a table without rows says nothing
  const BenchReport report = bench_speed(
      bench,
      [&](const BenchCase& c) {
        if (json) return;
        if (!std::exchange(begun, true)) cli::print(header());
        cli::print(case_row(c));
      },
      context.monitor);
  if (json)
    cli::print(to_json(report).dump(2) + "\n");
  else
    print_machine(report);
}

constexpr const char* kDescription[] = {
    "Measures how fast models read prompts and write answers on this machine. Every case runs once "
    "without "
    "being counted, then several times; the median is shown with the median absolute deviation.",
    "For generation the report says how much of the memory's bandwidth weights, keys and values "
    "were "
    "read with; the "
    "bandwidth is measured in the same run, with the same threads. Models that fit in the "
    "processor's caches "
    "may exceed it.",
    "kernels measures encoding, decoding and products of each type on one thread, with every "
    "instruction set that has a kernel of its own for it. A kernel that does not give the results "
    "of "
    "the type's definition is refused.",
    "ppl reads a text in chunks and measures perplexity: how many tokens, equally likely, the "
    "model "
    "hesitates between. kld compares what models say about each token with what a reference says: "
    "Kullback-Leibler divergence, change of the right token's probability (dp), how often the "
    "likeliest token is the same. Chunks, scoring and figures are those of llama-perplexity. With "
    "--ref the reference reads the same chunks beside each model, and nothing is rounded; with "
    "several models ppl --save-logits once and kld --base take less time.",
    "The JSON report carries every sample, load time, time to the first token, peak memory, "
    "settings, and "
    "facts of machine and build."};
constexpr cli::Example kExamples[] = {
    {"lq-bench model.gguf", "prompt processing and generation"},
    {"lq-bench a.gguf b.gguf -p 128,512 -n 64 -t 1,2 -r 10", "several models, lengths and threads"},
    {"lq-bench model.gguf -p 512 -n 32 -d 0,8192", "how long texts slow it down"},
    {"lq-bench model.gguf -o json", "a report for programs"},
    {"lq-bench kernels --type Q4_K --op encode,decode",
     "one type's kernels, every instruction set"},
    {"lq-bench kernels --type Q4_K --op stream-1 --shape 8192x2048",
     "how near products of one token come to what memory gives"},
    {"lq-bench ppl model-q4_k_m.gguf -f wiki.test.raw", "perplexity"},
    {"lq-bench kld model-q4_k_m.gguf model-q3_k_m.gguf --ref model-f16.gguf -f wiki.test.raw",
     "what quantization changed"},
    {"lq-bench ppl model-f16.gguf -f wiki.test.raw --save-logits f16.logits",
     "keep what the reference says, for kld --base f16.logits"},
    {"lq-bench kernels --explain", "which instruction set is used here, and why"}};

}  // namespace

int main(int argc, char** argv) {
  const cli::Command commands[] = {lq::tools::kBenchKernels, lq::tools::kBenchPerplexity,
                                   lq::tools::kBenchDivergence};
  return cli::run({.name = "lq-bench",
                   .summary = "measure how fast a model runs here, and how well",
                   .description = kDescription,
                   .examples = kExamples,
                   .declare = declare,
                   .execute = execute,
                   .common = {.threads = false, .force = false},
                   .commands = commands},
                  argc, argv);
}
