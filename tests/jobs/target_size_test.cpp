#include "lib/jobs/target_size.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <sstream>

#include "lib/jobs/quantize.h"
#include "tests/support/errors.h"
#include "tests/support/models.h"
#include "tests/support/places.h"
#include "tests/support/tiny_source.h"

namespace lq {
namespace {

using test::holds;
using test::message_of;
using test::TinySource;

TinySource make_source() {
  Metadata metadata("memory");
  metadata.set("general.architecture", Value::of_string("llama"));
  metadata.set("llama.block_count", Value::of_u32(3));
  TinySource source(metadata);
  source.add_random({"token_embd.weight", DType::F16, {256, 300}});
  source.add_random({"output.weight", DType::F16, {256, 300}});
  for (const char* layer : {"blk.0.", "blk.1.", "blk.2."}) {
    source.add_random({std::string(layer) + "attn_norm.weight", DType::F32, {256}});
    source.add_random({std::string(layer) + "attn_v.weight", DType::F16, {256, 64}});
    source.add_random({std::string(layer) + "ffn_up.weight", DType::F32, {256, 512}});
    source.add_random({std::string(layer) + "odd.weight", DType::F16, {96, 40}});
  }
  return source;
}

/// Logits of the model after each of some tokens of its training's kind, [tokens][vocabulary].
std::vector<float> logits_of(const std::filesystem::path& file, std::size_t& n_vocab) {
  const auto backend = make_cpu_backend(2, {});
  const Model model(file, *backend);
  n_vocab = static_cast<std::size_t>(model.weights().n_vocab);
  const std::string text = test::file_content(test::testdata("models/quiz.jsonl")).substr(0, 900);
  const std::vector<TokenId> tokens = model.tokenizer().encode(text, {});
  return test::all_logits(model, tokens, 32);
}

/// Mean Kullback-Leibler divergence of the second model's next tokens from the first's.
double divergence(const std::filesystem::path& from, const std::filesystem::path& of) {
  std::size_t n = 0;
  const auto p = logits_of(from, n), q = logits_of(of, n);
  double total = 0;
  for (std::size_t at = 0; at < p.size(); at += n) {
    double sum_p = 0, sum_q = 0, difference = 0;
    for (std::size_t i = at; i < at + n; ++i) {
      sum_p += std::exp(double{p[i]});
      sum_q += std::exp(double{q[i]});
    }
    for (std::size_t i = at; i < at + n; ++i)
      difference += std::exp(double{p[i]}) / sum_p * (double{p[i]} - q[i]);
    total += difference - std::log(sum_p) + std::log(sum_q);
  }
  return total / static_cast<double>(p.size() / n);
}

Plan plan_of(const TinySource& source, const TypeWishes& wishes = {}) {
  QuantizeOptions options;
  options.recipe = find_recipe("Q4_K_M");
  options.wishes = wishes;
  return make_quantize_plan(source, options);
}

}  // namespace

TEST_CASE("types are fitted to a size, the same for any number of threads") {
  const TinySource source = make_source();
  const Plan recipe = plan_of(source);
  Monitor monitor;
  for (const double bits : {3.5, 4.5, 5.3, 6.6, 9.0}) {
    const std::uint64_t target = bytes_at(recipe, bits);
    Plan one = plan_of(source), three = plan_of(source);
    const SizeFit fit = fit_to_size(one, target, 1, monitor);
    fit_to_size(three, target, 3, monitor);
    CHECK(one.file_bytes() <= target);
    CHECK(static_cast<double>(one.file_bytes()) > 0.98 * static_cast<double>(target));
    CHECK(one.outputs(0).size() == recipe.outputs(0).size());
    double last = 1;
    std::size_t n_chosen = 0;
    for (const SizeRow& row : fit.table) {
      CHECK(row.loss < last);
      last = row.loss;
      if (row.chosen) CHECK(row.bytes == one.file_bytes());
      if (row.chosen) ++n_chosen;
    }
    CHECK(n_chosen == 1);
    for (std::size_t i = 0; i < one.tensors.size(); ++i) {
      CHECK(one.tensors[i].output.type == three.tensors[i].output.type);
      if (one.tensors[i].output.name.find("norm") != std::string::npos)
        CHECK(one.tensors[i].output.type == DType::F32);
    }
  }
}

TEST_CASE("a model fitted to the size of a recipe answers more like the original") {
  const test::TempDir dir;
  const auto original = test::convert_checkpoint(dir, "lq-demo", DType::F32);
  const auto source = open_source(original);
  Monitor monitor;
  for (const char* type : {"Q2_K", "Q4_K_M"}) {
    CAPTURE(type);
    QuantizeOptions options;
    options.recipe = find_recipe(type);
    Plan plan = make_quantize_plan(*source, options);
    const auto fixed = test::quantize_model(original, type, false), fitted = dir / "fitted.gguf";
    fit_to_size(plan, plan.file_bytes(), 2, monitor);
    write_plan(plan, fitted, {.threads = 2, .existing = Existing::replace}, monitor);
    CHECK(std::filesystem::file_size(fitted) <= std::filesystem::file_size(fixed));
    CHECK(divergence(original, fitted) < 0.9 * divergence(original, fixed));
  }
}

TEST_CASE("sizes that cannot be and values that are not finite are refused") {
  TinySource source = make_source();
  Plan plan = plan_of(source);
  Monitor monitor;
  CHECK(holds(message_of(ErrorKind::usage, [&] { fit_to_size(plan, 20000, 1, monitor); }),
              "the smallest has"));
  Plan large = plan_of(source);
  fit_to_size(large, std::uint64_t{1} << 40, 1, monitor);
  for (const PlannedTensor& tensor : large.tensors) CHECK(tensor.is_copy());
  source.set(1, 7, std::numeric_limits<float>::quiet_NaN());
  CHECK(holds(message_of(ErrorKind::input, [&] { fit_to_size(plan, 1 << 20, 1, monitor); }),
              "'output.weight': element 7 is nan"));
}

TEST_CASE("decisions are saved as patterns that give the same types") {
  const TinySource source = make_source();
  Monitor monitor;
  Plan plan = plan_of(source);
  fit_to_size(plan, bytes_at(plan, 5), 2, monitor);
  const std::string lines = type_lines(plan);
  CHECK(holds(lines, "^blk\\.2\\.ffn_up\\.weight$="));
  CHECK(!holds(lines, "norm"));
  TypeWishes wishes;
  std::istringstream words(lines);
  for (std::string word; words >> word;) {
    const std::size_t equals = word.rfind('=');
    wishes.patterns.push_back({word.substr(0, equals), *dtype_named(word.substr(equals + 1))});
  }
  const Plan again = plan_of(source, wishes);
  for (std::size_t i = 0; i < plan.tensors.size(); ++i)
    CHECK(again.tensors[i].output.type == plan.tensors[i].output.type);
}

}  // namespace lq
