// Whole forward passes against another implementation's logits and texts.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/cpu/kernel_table.h"
#include "kernels/panels/panels.h"
#include "lib/infer/conversation.h"
#include "lib/infer/session.h"
#include "lib/io/text_file.h"
#include "tests/support/kernel_data.h"
#include "tests/support/models.h"
#include "tests/support/places.h"

namespace {

using namespace lq;
using namespace lq::test;

const std::string kTestdata = lq::test::testdata("");
constexpr const char* kToys[] = {"llama3", "mistral", "qwen3", "smollm3"};
constexpr double kBound = 2e-4;  ///< of a logit, with binary32 weights, sums and cache
/// With activations of 8 bits: of a logit, the mean KL divergence from binary32 ones, and the
/// perplexity of 127 tokens.
struct RoundedBounds {
  double logit = 0.5, divergence = 1e-3, perplexity = 0.01;
};
/// What a set does with many tokens. A model in Q2_K is 0.3 from its original, and unsure.
RoundedBounds rounded_bounds(const kernels::KernelTable& table, DType type, int n_tokens) {
  if (&table.panels.products(type, n_tokens) != &table.panels.requantized) return {};
  if (type == DType::Q2_K) return {.logit = 0.8, .divergence = 3e-3, .perplexity = 0.02};
  return {.logit = 0.8};
}
/// The text may differ where two logits are closer than this.
constexpr double kMargin = 1e-3;

Json read_golden(const std::string& file) { return parse_json(read_text(kTestdata + file), file); }

/// The likeliest tokens after `ids`, end tokens included.
std::vector<TokenId> greedy(const Model& model, std::span<const TokenId> ids, int n,
                            DType kv_type = DType::F32) {
  Session session(model, {.context = 256, .kv_type = kv_type});
  Monitor monitor;
  session.set_prompt(ids, monitor);
  SamplerOptions options;
  options.temperature = 0;
  Sampler sampler(options, 1);
  return session
      .generate(
          sampler, {.max_tokens = n, .ignore_end = true}, [](std::string_view) {}, monitor)
      .ids;
}

/// Compares the stored positions; returns how many there were.
int compare_positions(const Json& stored, std::span<const float> logits, std::size_t n_vocab,
                      double& worst) {
  int n = 0;
  for (const auto& [position, values] : stored.items()) {
    const float* row = logits.data() + std::stoul(position) * n_vocab;
    REQUIRE(values.size() == n_vocab);
    for (std::size_t i = 0; i < n_vocab; ++i)
      keep_worst(worst, std::fabs(values[i].get<double>() - static_cast<double>(row[i])));
    ++n;
  }
  return n;
}

/// Reference prompts of the small chat model, as messages, ids and answers.
const Json& demo_prompts() {
  static const Json reference = read_golden("models/reference.json");
  return reference["prompts"];
}

Conversation conversation_of(const Model& model, const Json& messages) {
  Conversation conversation(model, {});
  for (const Json& message : messages)
    conversation.messages().push_back({message["role"], message["content"]});
  return conversation;
}

std::vector<double> log_probabilities(std::span<const float> logits) {
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  std::vector<double> result;
  for (const float logit : logits) result.push_back(static_cast<double>(logit) - std::log(total));
  return result;
}

/// Mean negative log-likelihood of the second half of a chunk of 256 tokens.
double loss_of(std::span<const float> logits, std::span<const TokenId> ids) {
  const std::size_t n_vocab = logits.size() / ids.size();
  double sum = 0;
  for (std::size_t i = 128; i < 255; ++i)
    sum -= log_probabilities(
        logits.subspan(i * n_vocab, n_vocab))[static_cast<std::size_t>(ids[i + 1])];
  return sum / 127;
}

/// The answer to one question, by the likeliest tokens.
std::string answer_to(const Model& model, Session& session, std::span<const TokenId> ids,
                      int max_tokens) {
  Monitor monitor;
  session.set_prompt(ids, monitor);
  SamplerOptions options = sampler_defaults(model.source().metadata());
  options.temperature = 0;
  Sampler sampler(options, 1);
  return session
      .generate(
          sampler, {.max_tokens = max_tokens}, [](std::string_view) {}, monitor)
      .text;
}

/// Another source with its matrices stored as a type, or as what is read back from that type.
class Restored : public TensorSource {
 public:
  Restored(const TensorSource& source, DType type, bool decoded)
      : source_(source), infos_(source.tensors()) {
    for (std::size_t i = 0; i < infos_.size(); ++i) {
      TensorInfo& info = infos_[i];
      const auto stored = source.data(i);
      std::vector<float> values(info.elements());
      traits(info.type).decode(stored.data(), values.data(), values.size());
      std::vector<std::byte> bytes(stored.begin(), stored.end());
      if (info.shape.size() > 1) {
        info.type = type;
        bytes.assign(info.bytes(), std::byte{});
        const std::size_t row = info.row_length();
        for (std::size_t r = 0; r < info.rows(); ++r)
          traits(type).encode(values.data() + r * row, nullptr, bytes.data() + r * info.row_bytes(),
                              row);
      }
      if (decoded && info.type == type) {
        traits(type).decode(bytes.data(), values.data(), values.size());
        info.type = DType::F32;
        const auto raw = std::as_bytes(std::span(values));
        bytes.assign(raw.begin(), raw.end());
      }
      data_.push_back(std::move(bytes));
    }
  }
  const std::string& name() const override { return source_.name(); }
  std::string_view format() const override { return "memory"; }
  const Metadata& metadata() const override { return source_.metadata(); }
  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  std::span<const std::byte> data(std::size_t index) const override { return data_[index]; }
  void release(std::size_t) const override {}
  std::vector<std::filesystem::path> files() const override { return {}; }

 private:
  const TensorSource& source_;
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<std::byte>> data_;
};

double largest_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    keep_worst(worst, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return worst;
}

/// Whether the best set here rounds what many tokens are multiplied with to bfloat16.
bool rounds_many() { return kernels::kernel_table("")->panels.tiles.widest_tile > 0; }
constexpr double kBfloatBound = 0.1;  ///< of a logit; Q8_0's products change one by 0.3

}  // namespace

TEST_CASE("logits and greedy texts are transformers' for each family and instruction set") {
  for (const char* name : kToys) {
    const Json golden = read_golden(std::string("golden/logits/") + name + ".json.zst");
    for (const kernels::KernelSet& set : kernels::kernel_sets()) {
      if (!set.supported) continue;
      CAPTURE(name);
      CAPTURE(std::string(set.table->name));
      const LoadedModel model(name, DType::F32, 1, set.table->name);
      const auto n_vocab = static_cast<std::size_t>(model->weights().n_vocab);
      double worst = 0;
      int compared = 0, sequences = 0;
      for (const auto& [kind, sequence] : golden["sequences"].items()) {
        const std::vector<TokenId> tokens = sequence["tokens"];
        const auto logits = all_logits(*model, tokens, 32);
        compared += compare_positions(sequence["logits"], logits, n_vocab, worst);
        REQUIRE(sequence["greedy_smallest_margin"].get<double>() > kMargin);
        const std::vector<TokenId> wanted = sequence["greedy"];
        CHECK(greedy(*model, tokens, static_cast<int>(wanted.size())) == wanted);
        ++sequences;
      }
      std::printf("%-8s %-8s largest error of a logit %.2g at %d positions\n", name,
                  set.table->name, worst, compared);
      CHECK(sequences == 2);
      CHECK(compared == 7);
      CHECK(worst <= kBound);
    }
  }
}

TEST_CASE("lq-demo: prompts, ids, logits and answers are transformers'") {
  const LoadedModel exact("lq-demo", DType::F32), stored("lq-demo", DType::BF16);
  double worst = 0;
  REQUIRE(demo_prompts().size() == 5);
  for (const Json& prompt : demo_prompts()) {
    const Conversation conversation = conversation_of(*exact, prompt["messages"]);
    CHECK(conversation.prompt() == prompt["rendered"].get<std::string>());
    const auto ids = conversation.prompt_ids();
    CHECK(ids == prompt["ids"].get<std::vector<TokenId>>());
    const auto logits = all_logits(*exact, ids, 128);
    const auto last = std::span(logits).last(static_cast<std::size_t>(exact->weights().n_vocab));
    CHECK(likeliest(last) == prompt["top5"][0]["id"].get<TokenId>());
    for (const Json& top : prompt["top5"])
      keep_worst(worst, std::fabs(top["logit"].get<double>() -
                                  static_cast<double>(last[top["id"].get<std::size_t>()])));
    REQUIRE(prompt["smallest_gap"].get<double>() > kMargin);
    for (const LoadedModel* model : {&exact, &stored}) {
      Session session(**model, {.context = 256});
      CHECK(answer_to(**model, session, ids, 48) == prompt["greedy_text"].get<std::string>());
    }
  }
  std::printf("lq-demo  largest error of a top logit %.2g\n", worst);
  CHECK(worst <= kBound);
}

TEST_CASE("lq-demo: the likelihood of a text is transformers'") {
  const Json reference = read_golden("models/reference.json");
  const std::vector<TokenId> ids = reference["first_8_chunks"]["first_chunk_ids"];
  REQUIRE(ids.size() == 256);
  const LoadedModel model("lq-demo", DType::F32, 2);
  const auto logits = all_logits(*model, ids, 64);
  const double wanted = reference["first_8_chunks"]["second_half_nll_per_chunk"][0];
  const double error = std::fabs(loss_of(logits, ids) - wanted);
  std::printf("lq-demo  error of the negative log-likelihood of 127 tokens %.2g\n", error);
  CHECK(error < 1e-5);
}

TEST_CASE("lq-demo: quiz answers of the stored, a large and a small type [slow]") {
  struct Row {
    const char* type;
    int least;
  };
  const std::string text = read_text(kTestdata + "models/quiz.jsonl");
  const TempDir dir;
  const auto original = convert_checkpoint(dir, "lq-demo", DType::BF16);
  for (const Row row : {Row{nullptr, 200}, Row{"Q8_0", 199}, Row{"Q4_K_M", 198}}) {
    const auto backend = make_cpu_backend(1);
    const Model model(row.type ? quantize_model(original, row.type, false) : original, *backend);
    Session session(model, {.context = 256});
    int asked = 0, equal = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      const Json line = parse_json(std::string_view(text).substr(at, end - at), "quiz.jsonl");
      at = end + 1;
      const Json messages = {{{"role", "user"}, {"content", line["prompt"]}}};
      const auto ids = conversation_of(model, messages).prompt_ids();
      equal += answer_to(model, session, ids, 64) == line["answer"].get<std::string>();
      ++asked;
    }
    std::printf("lq-demo  %-7s %d of %d quiz answers are the reference's\n",
                row.type ? row.type : "BF16", equal, asked);
    CHECK(asked == 200);
    CHECK(equal >= row.least);
  }
}

TEST_CASE("logits do not depend on threads, steps, or what was in the cache before") {
  const std::vector<TokenId> ids = demo_prompts()[4]["ids"];
  const int whole = static_cast<int>(ids.size());
  // Few queries are summed in another order; some sets round what many tokens are multiplied with
  // to bfloat16.
  std::map<int, std::vector<float>> first;  // by batch
  const double bound = rounds_many() ? kBfloatBound : kBound;
  for (const int threads : {1, 2, 3}) {
    const LoadedModel model("lq-demo", DType::BF16, threads);
    for (const int batch : {whole, 1, 7}) {
      CAPTURE(threads);
      CAPTURE(batch);
      const auto logits = all_logits(*model, ids, batch);
      if (first[batch].empty()) first[batch] = logits;
      CHECK(logits == first[batch]);
      CHECK(largest_difference(logits, first[whole]) <= bound);
    }
  }
  const LoadedModel model("lq-demo", DType::BF16);
  Session used(*model, {.context = 256}), fresh(*model, {.context = 256});
  Monitor monitor;
  auto other = ids;
  for (std::size_t i = 40; i < other.size(); ++i) other[i] = 7;
  used.set_prompt(other, monitor);
  const std::string again = answer_to(*model, used, ids, 20);
  CHECK(used.timings().cached_tokens == 40);
  CHECK(again == answer_to(*model, fresh, ids, 20));
  CHECK(again == demo_prompts()[4]["greedy_text"].get<std::string>());
  CHECK(fresh.timings().cached_tokens == 0);
}

TEST_CASE("logits with a cache of fewer bits") {
  const LoadedModel model("lq-demo", DType::F32);
  // Q8_0 costs as much here as with the weights: 0.2 of a logit.
  for (const auto& cache : {std::pair{DType::F16, 1e-2}, {DType::Q8_0, 0.4}}) {
    const DType type = cache.first;
    const double most = cache.second;
    CAPTURE(cache_type_name(type));
    for (const int batch : {64, 1}) {
      const double bound = batch > 1 && rounds_many() ? std::max(most, kBfloatBound) : most;
      double worst = 0;
      for (const Json& prompt : demo_prompts()) {
        const std::vector<TokenId> ids = prompt["ids"];
        keep_worst(worst, largest_difference(all_logits(*model, ids, batch, type),
                                             all_logits(*model, ids, batch)));
        Session session(*model, {.context = 256, .kv_type = type});
        CHECK(answer_to(*model, session, ids, 48) == prompt["greedy_text"].get<std::string>());
      }
      std::printf("lq-demo  cache of %-5s batch %2d: largest difference of a logit %.2g\n",
                  cache_type_name(type).c_str(), batch, worst);
      CHECK(worst <= bound);
      CHECK(worst >= bound / 20);
    }
  }
}

TEST_CASE("a model of any type gives the logits of what its weights decode to") {
  const LoadedModel original("lq-demo-draft", DType::F32, 2);
  const std::vector<TokenId> ids = demo_prompts()[0]["ids"];
  const Weights as_stored(original->source(), original->hparams(), original->backend(),
                          {.repack = false});
  const auto exact = all_logits(as_stored, original->hparams(), original->backend(), ids, 64);
  int types = 0;
  for_each_dtype([&](DType type, const DTypeTraits& facts) {
    if (!facts.has_codec()) return;
    CAPTURE(std::string(facts.name));
    const auto run = [&](bool decoded, bool repack) {
      const Restored source(original->source(), type, decoded);
      const Weights weights(source, original->hparams(), original->backend(), {.repack = repack});
      return all_logits(weights, original->hparams(), original->backend(), ids, 64);
    };
    const auto stored = run(false, false), decoded = run(true, false);
    double worst = 0, rounding = 0;
    // Panels of floats do not round what they are multiplied with.
    if (kernels::panel_traits(type).floats)
      keep_worst(worst, largest_difference(run(false, true), decoded));
    for (std::size_t i = 0; i < stored.size(); ++i) {
      keep_worst(worst, std::fabs(static_cast<double>(stored[i] - decoded[i])));
      keep_worst(rounding, std::fabs(static_cast<double>(stored[i] - exact[i])));
    }
    std::printf("%-6s largest difference to decoded weights %.2g, to the original %.2g\n",
                facts.name, worst, rounding);
    CHECK(worst <= kBound);
    const bool lossless = type == DType::F32 || type == DType::BF16;  // of a BF16 checkpoint
    CHECK(lossless == (rounding == 0));
    ++types;
  });
  CHECK(types >= 13);
}

TEST_CASE("operands of 8 bits change what a model says by little, in every set") {
  const LoadedModel original("lq-demo", DType::F32, 2);
  const std::vector<TokenId> ids =
      read_golden("models/reference.json")["first_8_chunks"]["first_chunk_ids"];
  constexpr int kStep = 64;
  int types = 0;
  for_each_dtype([&](DType type, const DTypeTraits& facts) {
    if (!kernels::panel_traits(type).exists || kernels::panel_traits(type).floats) return;
    CAPTURE(std::string(facts.name));
    const Restored source(original->source(), type, false);
    const auto run = [&](Backend& backend, bool repack) {
      const Weights weights(source, original->hparams(), backend, {.repack = repack});
      return all_logits(weights, original->hparams(), backend, ids, kStep);
    };
    const auto exact = run(original->backend(), false), rounded = run(original->backend(), true);
    const RoundedBounds bounds = rounded_bounds(*kernels::kernel_table(""), type, kStep);
    const std::size_t n_vocab = exact.size() / ids.size();
    double divergence = 0, worst = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto p = log_probabilities(std::span(exact).subspan(i * n_vocab, n_vocab));
      const auto q = log_probabilities(std::span(rounded).subspan(i * n_vocab, n_vocab));
      for (std::size_t v = 0; v < n_vocab; ++v) divergence += std::exp(p[v]) * (p[v] - q[v]);
    }
    for (std::size_t i = 0; i < exact.size(); ++i)
      keep_worst(worst, std::fabs(static_cast<double>(exact[i] - rounded[i])));
    divergence /= static_cast<double>(ids.size());
    const double ratio = std::exp(loss_of(rounded, ids) - loss_of(exact, ids));
    std::printf("%-6s KL divergence %.2g, perplexity times %.5f, largest change of a logit %.2g\n",
                facts.name, divergence, ratio, worst);
    CHECK(divergence > 0);
    CHECK(divergence < bounds.divergence);
    CHECK(std::fabs(ratio - 1) < bounds.perplexity);
    CHECK(worst < bounds.logit);
    // Sets differ in what they round when there are many tokens, and in other operations.
    for (const kernels::KernelSet& set : kernels::kernel_sets())
      if (set.supported && type == DType::Q4_K) {
        CAPTURE(std::string(set.table->name));
        const auto& table = *kernels::kernel_table(set.table->name);
        const auto logits = run(*make_cpu_backend(2, set.table->name), true);
        CHECK(largest_difference(logits, exact) < rounded_bounds(table, type, kStep).logit);
      }
    ++types;
  });
  CHECK(types >= 10);
}
