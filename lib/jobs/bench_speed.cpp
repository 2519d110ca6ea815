#include "lib/jobs/bench_speed.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/infer/session.h"
#include "lib/jobs/plan_source.h"

namespace lq {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<TokenId> random_tokens(int n, int n_vocab) {
  Random random(1);
  std::vector<TokenId> ids(static_cast<std::size_t>(n));
  for (TokenId& id : ids)
    id = static_cast<TokenId>(random.next() % static_cast<std::uint64_t>(n_vocab));
  return ids;
}

/// One model on one number of threads.
class Runner {
 public:
  /// `first`: of several with this model; what is to be said of it is said once.
  Runner(const std::filesystem::path& path, int threads, const BenchOptions& options,
         BenchCase base, bool first, Monitor& monitor)
      : options_(options),
        base_(std::move(base)),
        monitor_(monitor),
        backend_(make_cpu_backend(threads)),
        load_start_(Clock::now()),
        model_(open_runnable(path, threads, monitor), *backend_,
               {.repack = !options.exact,
                .round_inputs = !options.exact,
                .monitor = first ? &monitor : nullptr}),
        session_(model_, {.context = longest_text(options), .kv_type = options.kv_type}) {
    base_.load_ns = std::chrono::nanoseconds(Clock::now() - load_start_).count();
    base_.model = path.string();
    base_.architecture = model_.hparams().arch->gguf_name;
    base_.weight_type = model_.weight_type();
    base_.model_bytes = model_.weights().bytes();
    base_.parameters = model_.weights().parameters();
    base_.bytes_per_token = model_.weights().bytes_per_token();
    base_.exact = options.exact;
    base_.warnings = model_.weights().warnings();
    base_.threads = threads;
    base_.isa = backend_->instruction_set();
    base_.device = backend_->name();
    base_.kv_type = cache_type_name(options.kv_type);
  }

  BenchCase prompt(int n, int depth) {
    BenchCase result = base_;
    result.kind = BenchKind::prompt;
    result.n_prompt = n;
    result.depth = depth;
    const auto ids = random_tokens(depth + n, model_.weights().n_vocab);
    repeat(result, [&](bool counted) {
      start(ids, depth);
      generate(1);
      if (!counted) return;
      result.samples_ns.push_back(session_.timings().prompt.count());
      result.first_token_ns.push_back(session_.timings().first_token.count());
    });
    return result;
  }

  BenchCase generation(int n, int depth) {
    BenchCase result = base_;
    result.kind = BenchKind::generate;
    result.n_generate = n;
    result.depth = depth;
    result.cache_bytes_per_token =
        session_.cache().bytes_per_position() * static_cast<std::uint64_t>(depth + n / 2 + 1);
    const auto ids = random_tokens(depth + 1, model_.weights().n_vocab);
    repeat(result, [&](bool counted) {
      start(ids, depth);
      generate(n);
      if (counted) result.samples_ns.push_back(session_.timings().generate.count());
    });
    return result;
  }

 private:
  static int longest_text(const BenchOptions& options) {
    const int prompt = *std::max_element(options.n_prompt.begin(), options.n_prompt.end());
    const int generate = *std::max_element(options.n_generate.begin(), options.n_generate.end());
    const int depth = *std::max_element(options.depth.begin(), options.depth.end());
    return std::max(prompt, generate) + depth + 2;
  }

  /// The first `depth` tokens stay in the cache.
  void start(std::span<const TokenId> ids, int depth) {
    if (depth == 0)
      session_.clear();
    else
      session_.set_prompt(ids.first(static_cast<std::size_t>(depth)), monitor_);
    session_.set_prompt(ids, monitor_);
    LQ_ASSERT(session_.timings().cached_tokens == depth);  // the others are what is timed
  }

  void generate(int n) {
    SamplerOptions greedy;
    greedy.temperature = 0;
    Sampler sampler(greedy, 1);
    session_.generate(
        sampler, {.max_tokens = n, .ignore_end = true}, [](std::string_view) {}, monitor_);
  }

  template <class Body>
  void repeat(BenchCase& result, const Body& body) {
    reset_peak_memory();
    for (int i = 0; i <= options_.repetitions; ++i) {
      monitor_.check_stop();
      body(/*counted=*/i > 0);
    }
    result.peak_rss_bytes = peak_memory();
  }

  const BenchOptions& options_;
  BenchCase base_;
  Monitor& monitor_;
  std::unique_ptr<Backend> backend_;
  Clock::time_point load_start_;
  Model model_;
  Session session_;
};

}  // namespace

BenchReport bench_speed(const BenchOptions& options,
                        const std::function<void(const BenchCase&)>& on_case, Monitor& monitor) {
  std::vector<std::string> hashes;
  for (const auto& path : options.models) {  // fails before hours of work
    const auto source = open_runnable(path, 1, monitor);
    hashes.push_back(options.hash ? files_sha256(source->files()) : "");
  }
  BenchReport report{.machine = machine_facts(), .cases = {}};
  std::map<int, double> bandwidth;  // of a number of threads
  for (const int threads : options.threads) bandwidth[threads] = read_bandwidth(threads);
  const auto add = [&](BenchCase result) {
    report.cases.push_back(std::move(result));
    on_case(report.cases.back());
  };
  for (std::size_t i = 0; i < options.models.size(); ++i) {
    const auto& path = options.models[i];
    BenchCase base{.model_sha256 = hashes[i]};
    for (const int threads : options.threads) {
      base.bandwidth = bandwidth[threads];
      const bool first = threads == options.threads.front();
      Runner runner(path, threads, options, base, first, monitor);
      for (const int depth : options.depth) {
        for (const int n : options.n_prompt)
          if (n > 0) add(runner.prompt(n, depth));
        for (const int n : options.n_generate)
          if (n > 0) add(runner.generation(n, depth));
      }
    }
  }
  return report;
}

}  // namespace lq
