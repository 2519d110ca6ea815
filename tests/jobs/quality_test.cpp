// Perplexity, divergence, and files of log-probabilities.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "lib/jobs/bench_quality.h"
#include "tests/support/errors.h"
#include "tests/support/kernel_data.h"
#include "tests/support/models.h"
#include "tests/support/mutate.h"
#include "tests/support/places.h"

using namespace lq;
using namespace lq::test;

namespace {

std::vector<float> logits_of_probabilities(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3));
  return logits;
}

std::vector<std::byte> base_row(const std::vector<float>& logits) {
  std::vector<std::byte> row(base_row_bytes(static_cast<int>(logits.size())));
  encode_base_row(logits, row);
  return row;
}

/// Three chunks of four tokens of a vocabulary of five: one row a chunk.
constexpr BaseShape kShape{.n_ctx = 4, .n_vocab = 5, .n_chunks = 3};
const std::vector<TokenId> kTokens = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1};

std::filesystem::path write_base_file(const TempDir& dir) {
  const auto path = dir / "base.logits";
  BaseLogitsWriter writer(path, Existing::replace, kShape, kTokens);
  for (std::uint32_t chunk = 0; chunk < 3; ++chunk)
    writer.append(base_row(normal_values(5, chunk)));
  writer.commit();
  return path;
}

/// Reads all that a comparison reads.
void use_base_file(const std::filesystem::path& path) {
  const BaseLogits base(path);
  const auto n = static_cast<std::size_t>(base.shape().n_vocab);
  const auto logits = normal_values(n, 7);
  for (int chunk = 0; chunk < base.shape().n_chunks; ++chunk)
    for (int i = 0; i < scored_tokens(base.shape().n_ctx); ++i) {
      double total = 0;
      const auto score = score_token(logits, base.row(chunk, i), 0, total);
      CHECK(std::isfinite(score.base_loss));
    }
}

QualityReport measured(QualityOptions options) {
  Monitor monitor;
  return bench_quality(
      options, [](const QualityReport&) {}, monitor);
}

}  // namespace

TEST_CASE("perplexity of probabilities 1/2, 1/4 and 1/8") {
  // In nats: ln 2 * (1 + 2 + 3) / 3; variance ln 2^2 * (14 / 3 - 4).
  std::vector<TokenScore> scores;
  for (const double p : {0.5, 0.25, 0.125})
    scores.push_back(score_token(logits_of_probabilities({p, 1 - p}), 0));
  CHECK(scores[0].loss + scores[1].loss + scores[2].loss == doctest::Approx(4.1589).epsilon(1e-5));
  const Estimate perplexity = perplexity_of(scores);
  CHECK(perplexity.value == doctest::Approx(4).epsilon(1e-6));
  CHECK(perplexity.error == doctest::Approx(1.6008).epsilon(1e-4));
}

TEST_CASE("divergence of {1/4, 3/4} from {1/2, 1/2}") {
  const auto model = logits_of_probabilities({0.25, 0.75}),
             base = logits_of_probabilities({0.5, 0.5});
  const auto row = base_row(base);
  double total = 0;
  for (const TokenScore& score :
       {score_token(model, base, 1), score_token(model, BaseRow(row), 1, total)}) {
    CHECK(score.divergence == doctest::Approx(0.143841).epsilon(1e-5));
    CHECK(score.loss == doctest::Approx(-std::log(0.75)));
    CHECK(score.base_loss == doctest::Approx(-std::log(0.5)));
    CHECK(score.probability_change() == doctest::Approx(0.25));
    CHECK_FALSE(score.same_top);  // the first of equal ones counts
  }
  CHECK(total == doctest::Approx(1));
  const TokenScore same = score_token(model, model, 0);
  CHECK(same.divergence == 0);
  CHECK(same.same_top);
}

TEST_CASE("statistics of scores against the same sums done by hand") {
  // Losses {1, 2, 4} and {1, 1, 3}: differences {0, 1, 1}.
  std::vector<TokenScore> scores;
  for (const auto& [loss, base] : std::vector<std::pair<double, double>>{{1, 1}, {2, 1}, {4, 3}})
    scores.push_back(
        {.loss = loss, .base_loss = base, .divergence = loss / 8, .same_top = loss < 3});
  const Divergence d = divergence_of(scores);
  CHECK(d.log_ratio.value == doctest::Approx(2.0 / 3));
  CHECK(d.log_ratio.error == doctest::Approx(std::sqrt(2.0 / 9 / 2)));
  CHECK(d.ratio.value == doctest::Approx(std::exp(2.0 / 3)));
  CHECK(d.mean.value == doctest::Approx(7.0 / 24));
  CHECK(d.same_top.value == doctest::Approx(2.0 / 3));
  CHECK(d.same_top.error == doctest::Approx(std::sqrt(2.0 / 3 / 3 / 2)));
  // Variances 14/9 and 8/9, covariance 10/9.
  CHECK(d.correlation == doctest::Approx(10 / std::sqrt(14.0 * 8)));
  const double q = std::exp(7.0 / 3), b = std::exp(5.0 / 3);
  CHECK(d.base_perplexity.value == doctest::Approx(b));
  CHECK(d.difference.value == doctest::Approx(q - b));
  CHECK(d.difference.error ==
        doctest::Approx(std::sqrt((q * q * 14 + b * b * 8 - 2 * q * b * 10) / 18)));
  double mean = 0, square = 0;
  for (const TokenScore& score : scores) {
    mean += score.probability_change() / 3;
    square += score.probability_change() * score.probability_change() / 3;
  }
  CHECK(d.change.value == doctest::Approx(mean));
  CHECK(d.change_rms.value == doctest::Approx(std::sqrt(square)));
  CHECK(d.quantiles.front() == 0.5f);
  CHECK(d.quantiles.back() == 0.125f);
}

TEST_CASE("quantiles lie between neighbours in proportion") {
  const std::vector<float> sorted = {0, 1, 2, 10};
  CHECK(quantile_of(sorted, 0) == 0);
  CHECK(quantile_of(sorted, 1) == 10);
  CHECK(quantile_of(sorted, 0.5f) == 1.5f);
  CHECK(quantile_of(sorted, 0.9f) == doctest::Approx(7.6));
  CHECK(quantile_of(std::vector<float>{3}, 0.999f) == 3);
  CHECK(std::isnan(divergence_of(std::vector<TokenScore>(2)).correlation));
}

TEST_CASE("a file of log-probabilities gives back what was written, to half a step") {
  const TempDir dir;
  const BaseLogits base(write_base_file(dir));
  CHECK(base.shape().n_ctx == 4);
  CHECK(base.shape().n_vocab == 5);
  CHECK(base.shape().n_chunks == 3);
  CHECK(std::vector<TokenId>(base.tokens().begin(), base.tokens().end()) == kTokens);
  CHECK(std::filesystem::file_size(dir / "base.logits") == 20 + 4 * 12 + 3 * (8 + 12));
  for (int chunk = 0; chunk < 3; ++chunk) {
    const auto logits = normal_values(5, static_cast<std::uint32_t>(chunk));
    const BaseRow row = base.row(chunk, 0);
    for (TokenId id = 0; id < 5; ++id) {
      const double wanted = -score_token(logits, id).loss;
      CHECK(std::fabs(static_cast<double>(row.log_probability(static_cast<std::size_t>(id))) -
                      wanted) <= static_cast<double>(row.scale) * 0.5 + 1e-6);
    }
  }
}

TEST_CASE("what is far below the likeliest token is stored as 16 below it") {
  const std::vector<float> logits = {50, 33, 40, -1e30f};
  const auto stored = base_row(logits);
  const BaseRow row(stored);
  CHECK(row.log_probability(0) == doctest::Approx(0).epsilon(1e-3));
  CHECK(row.log_probability(1) == doctest::Approx(-16).epsilon(1e-3));
  CHECK(row.log_probability(2) == doctest::Approx(-10).epsilon(1e-3));
  CHECK(row.log_probability(3) == row.log_probability(1));
  const auto flat = base_row({2, 2, 2});  // nothing to scale
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(BaseRow(flat).log_probability(i) == doctest::Approx(-std::log(3)));
}

TEST_CASE("a damaged file of log-probabilities is refused or read, whatever was changed") {
  const TempDir dir;
  const std::string content = file_content(write_base_file(dir));
  const auto bytes = std::as_bytes(std::span(content));
  std::size_t refused = 0, cut = 0;
  for_each_mutation(bytes, [&](const std::vector<std::byte>& damaged) {
    const auto path = dir.write("damaged.logits", damaged);
    const auto error = error_of([&] { use_base_file(path); });
    if (!error) return;
    ++refused;
    CHECK((error->kind() == ErrorKind::input || error->kind() == ErrorKind::file));
    CHECK(holds(error->what(), "damaged.logits"));
    cut += holds(error->what(), "truncated at byte") ? 1 : 0;
  });
  CHECK(refused > bytes.size());  // every cut, the header, most tokens
  CHECK(cut + 10 > bytes.size());
  const std::string longer = content + "x";
  dir.write("longer.logits", longer);
  CHECK(holds(input_error([&] { BaseLogits base(dir / "longer.logits"); }), "end at byte 128"));
  dir.write("other.logits", std::string_view("GGUF and more than eight bytes"));
  CHECK(holds(input_error([&] { BaseLogits base(dir / "other.logits"); }), "'_logits_'"));
  // Sizes whose product does not fit in 64 bits.
  std::string huge = content;
  for (const std::size_t at : std::initializer_list<std::size_t>{8, 12, 16})
    std::memcpy(huge.data() + at, "\xff\xff\xff\x7f", 4);
  dir.write("huge.logits", huge);
  CHECK(holds(input_error([&] { BaseLogits base(dir / "huge.logits"); }), "truncated at byte 128"));
}

TEST_CASE("quality of a model does not depend on threads, and is none against itself") {
  const TempDir dir;
  const auto path = convert_checkpoint(dir, "lq-demo-draft", DType::F32);
  const QualityOptions options{.models = {path},
                               .text = testdata("quality/val.txt"),
                               .n_ctx = 200,
                               .max_chunks = 3,
                               .reference = path,
                               .hash = false};
  const auto one = measured(options);
  REQUIRE(one.cases.size() == 1);
  const QualityCase& c = one.cases[0];
  REQUIRE(c.scores.size() == 3 * 99);
  for (const TokenScore& score : c.scores) {
    REQUIRE(score.divergence == 0);
    REQUIRE(score.same_top);
    REQUIRE(score.loss == score.base_loss);
  }
  auto more = options;
  more.threads = 3;
  more.reference.clear();
  const auto three = measured(more);
  for (std::size_t i = 0; i < c.scores.size(); ++i)
    REQUIRE(three.cases[0].scores[i].loss == c.scores[i].loss);
}

TEST_CASE("a file of log-probabilities stands for the model that made it") {
  const TempDir dir;
  const auto path = convert_checkpoint(dir, "lq-demo-draft", DType::F32);
  const auto other = quantize_model(path, "Q4_0", true);
  const QualityOptions options{.models = {path},
                               .text = testdata("quality/val.txt"),
                               .n_ctx = 128,
                               .max_chunks = 4,
                               .save_logits = dir / "base.logits",
                               .hash = false};
  const auto saved = measured(options);
  auto compare = options;
  compare.models = {other};
  compare.save_logits.clear();
  compare.reference = path;
  const auto exact = measured(compare);
  compare.reference.clear();
  compare.base = dir / "base.logits";
  compare.n_ctx = 0;
  const auto stored = measured(compare);
  compare.text.clear();
  CHECK(perplexity_of(measured(compare).cases[0].scores).value ==
        perplexity_of(stored.cases[0].scores).value);
  const Divergence a = divergence_of(exact.cases[0].scores),
                   b = divergence_of(stored.cases[0].scores);
  CHECK(a.mean.value > 1e-3);
  CHECK(b.mean.value == doctest::Approx(a.mean.value).epsilon(1e-3));
  CHECK(b.base_perplexity.value == doctest::Approx(a.base_perplexity.value).epsilon(1e-4));
  CHECK(a.base_perplexity.value == perplexity_of(saved.cases[0].scores).value);
  CHECK(b.same_top.value == doctest::Approx(a.same_top.value).epsilon(0.01));
}
