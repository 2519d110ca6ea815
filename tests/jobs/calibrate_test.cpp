#include "lib/jobs/calibrate.h"

#include <doctest/doctest.h>

#include <cmath>

#include "lib/jobs/importance_collector.h"
#include "tests/support/errors.h"
#include "tests/support/models.h"
#include "tests/support/places.h"

namespace lq {
namespace {

using test::error_of;
using test::file_content;
using test::holds;
using test::LoadedModel;
using test::message_of;
using test::TempDir;
using test::testdata;

const std::string kText = testdata("importance/text.txt");

/// Wants to stop after some steps.
class Impatient : public Monitor {
 public:
  explicit Impatient(int steps) : left_(steps) {}
  void advance(std::uint64_t) override { --left_; }
  bool stop_requested() const override { return left_ <= 0; }

 private:
  int left_;
};

CalibrateOptions options_of(int max_chunks, int threads = 1) {
  return {.text = kText, .chunk_size = 128, .max_chunks = max_chunks, .threads = threads};
}

bool equal(const ImportanceMatrix& a, const ImportanceMatrix& b) {
  if (a.entries.size() != b.entries.size() || a.chunk_count != b.chunk_count) return false;
  for (const auto& [name, entry] : a.entries)
    if (b.entries.at(name).sums != entry.sums || b.entries.at(name).counts != entry.counts)
      return false;
  return true;
}

}  // namespace

TEST_CASE("measured importance is the reference's") {
  const ImportanceMatrix reference = read_importance(testdata("importance/demo.gguf"));
  for (const DType type : {DType::F32, DType::F16}) {
    const LoadedModel file("lq-demo", type);
    const auto backend = make_cpu_backend(2);
    const Model model(file.path(), *backend, {.repack = false});  // as lq-quantize measures
    Monitor monitor;
    const ImportanceMatrix ours = calibrate(model, options_of(0, 2), monitor);
    CHECK(ours.chunk_count == 35);
    CHECK(ours.chunk_size == 128);
    CHECK(ours.datasets == std::vector<std::string>{kText});
    REQUIRE(ours.entries.size() == reference.entries.size());
    double worst = 0;
    for (const auto& [name, entry] : reference.entries) {
      const ImportanceEntry& found = ours.entries.at(name);
      CHECK(found.counts == entry.counts);
      REQUIRE(found.sums.size() == entry.sums.size());
      for (std::size_t i = 0; i < entry.sums.size(); ++i)
        worst = std::fmax(
            worst,
            std::fabs(static_cast<double>(found.sums[i]) / static_cast<double>(entry.sums[i]) - 1));
    }
    MESSAGE("largest relative difference from " << std::string(traits(type).name) << ": " << worst);
    CHECK(worst < 1e-3);
  }
}

TEST_CASE("importance does not depend on threads, batches or the place it is stored") {
  Monitor monitor;
  const LoadedModel one("lq-demo", DType::F16, 1);
  const LoadedModel three("lq-demo", DType::F16, 3);
  const ImportanceMatrix alone = calibrate(*one, options_of(3), monitor);
  CHECK(equal(alone, calibrate(*three, options_of(3, 3), monitor)));
  CHECK(alone.chunk_count == 3);
  CHECK(!equal(alone, calibrate(*one, options_of(2), monitor)));
}

TEST_CASE("interrupted calibration is continued to the same bytes") {
  const TempDir dir;
  const LoadedModel model("lq-demo-draft", DType::F16);
  Monitor monitor;
  CalibrateOptions options = options_of(8);
  options.save = dir / "whole.gguf";
  const ImportanceMatrix whole = calibrate(*model, options, monitor);
  options.save = dir / "parts.gguf";
  options.resume = true;  // there is nothing to go on with yet
  int n_runs = 0, chunks = 0;
  for (; chunks < 8 && n_runs < 20; ++n_runs) {
    Impatient impatient(3);
    const auto error = error_of([&] { calibrate(*model, options, impatient); });
    if (error) CHECK(error->kind() == ErrorKind::interrupted);
    const int reached = read_importance(options.save).chunk_count;
    CHECK(reached > chunks);
    chunks = reached;
  }
  CHECK(n_runs == 3);
  CHECK(file_content(dir / "parts.gguf") == file_content(dir / "whole.gguf"));
  // All is done: nothing is read, and nothing changes.
  Impatient impatient(1);
  CHECK(equal(calibrate(*model, options, impatient), whole));
  CHECK(dir.names().size() == 2);
}

TEST_CASE("only the same work is continued") {
  const TempDir dir;
  const LoadedModel model("lq-demo-draft", DType::F16);
  Monitor monitor;
  CalibrateOptions options = options_of(2);
  options.save = dir / "im.gguf";
  calibrate(*model, options, monitor);
  const auto refusal = [&](const CalibrateOptions& other) {
    return message_of(ErrorKind::usage, [&] { calibrate(*model, other, monitor); });
  };
  options.resume = true;
  CalibrateOptions other = options;
  other.chunk_size = 64;
  CHECK(holds(refusal(other), "chunk size is 128, expected 64"));
  other = options;
  other.max_chunks = 1;
  CHECK(holds(refusal(other), "number of chunks is 2, expected 1"));
  other = options;
  other.text = dir.write("other.txt", file_content(kText)).string();
  CHECK(holds(refusal(other), "its text is"));
  const LoadedModel larger("lq-demo", DType::F16);
  ImportanceMatrix stored = read_importance(options.save);
  stored.entries.begin()->second.counts[0] = 17;
  write_importance(stored, options.save, Existing::replace);
  CHECK(holds(refusal(options), "has tokens 17, expected 256"));
  stored.entries.begin()->second.sums.resize(8);
  write_importance(stored, options.save, Existing::replace);
  CHECK(holds(refusal(options), "has columns 8"));
  stored.entries["blk.77.attn_q.weight"] = {.sums = {1}, .counts = {1}};
  stored.entries.begin()->second.sums.resize(static_cast<std::size_t>(model->hparams().n_embd));
  stored.entries.begin()->second.counts[0] = 256;
  write_importance(stored, options.save, Existing::replace);
  CHECK(holds(refusal(options), "entries that this model has"));
  options.save = dir / "im.dat";
  write_importance(stored, options.save, Existing::refuse);
  CHECK(holds(refusal(options), "its form is .dat"));
  options.save = dir / "new.gguf";
  options.text = dir.write("short.txt", std::string_view("a few words")).string();
  CHECK(holds(message_of(ErrorKind::input, [&] { calibrate(*model, options, monitor); }),
              "a chunk 128; give a longer text"));
  CHECK(!std::filesystem::exists(options.save));
}

TEST_CASE("the output's matrix is measured on demand, if it is not the embedding") {
  Monitor monitor;
  CalibrateOptions options = options_of(1);
  options.chunk_size = 80;  // no multiple of the rows of logits at a time
  options.with_output = true;
  const LoadedModel tied("lq-demo-draft", DType::F16);
  const LoadedModel untied("llama3", DType::F32);
  REQUIRE(!tied->source().find("output.weight"));
  REQUIRE(untied->source().find("output.weight"));
  CHECK(!calibrate(*tied, options, monitor).entries.contains("output.weight"));
  const ImportanceMatrix with = calibrate(*untied, options, monitor);
  REQUIRE(with.entries.contains("output.weight"));
  CHECK(with.entries.at("output.weight").counts == std::vector<std::int64_t>{80});
  // The rows are normalised: the sums follow from the norm's weights.
  double sum = 0;
  for (const float v : with.entries.at("output.weight").sums) sum += static_cast<double>(v);
  CHECK(sum > 0);
  options.with_output = false;
  ImportanceMatrix without = calibrate(*untied, options, monitor);
  CHECK(!without.entries.contains("output.weight"));
  without.entries["output.weight"] = with.entries.at("output.weight");
  CHECK(equal(with, without));
}

TEST_CASE("experts are collected apart, dropped rows are not counted") {
  const LoadedModel model("lq-demo-draft", DType::F16);
  const Weights& weights = model->weights();
  const WeightView& stacked = weights.layers[0].up;
  ImportanceCollector collector(weights, model->backend(), 2, false);
  collector.expect_experts(stacked, 3);
  const auto columns = static_cast<std::size_t>(stacked.cols);
  std::vector<float> rows(4 * columns);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i / columns + 1);
  const std::int32_t experts[] = {2, 0, 2, 2};
  const View input{rows.data(), 4, stacked.cols};
  ImportanceMatrix matrix;
  collector.on_matmul(stacked, input, experts);
  collector.drop();
  collector.on_matmul(stacked, input, experts);
  collector.take(matrix);
  collector.on_matmul(stacked, {rows.data(), 1, stacked.cols}, std::span(experts).first(1));
  collector.take(matrix);
  const ImportanceEntry& entry = matrix.entries.at(std::string(weights.name_of(stacked)));
  CHECK(entry.counts == std::vector<std::int64_t>{1, 0, 4});
  CHECK(entry.sums[0] == 4);
  CHECK(entry.sums[columns] == 0);
  CHECK(entry.sums[2 * columns + 5] == 1 + 9 + 16 + 1);
  rows[3] = HUGE_VALF;
  collector.on_matmul(stacked, input, experts);
  CHECK(holds(message_of(ErrorKind::input, [&] { collector.take(matrix); }), "column 3 is inf"));
  CHECK(weights.name_of({}).empty());
}

}  // namespace lq
