#include "lib/jobs/plan.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/format/gguf_reader.h"
#include "lib/io/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_source.h"

namespace lq {
namespace {

using test::file_content;
using test::holds;
using test::message_of;
using test::TempDir;
using test::TinySource;

PlannedTensor planned(const TensorSource& source, std::size_t index, DType type) {
  PlannedTensor tensor;
  tensor.output = source.tensors()[index];
  tensor.output.type = type;
  tensor.wanted_type = type;
  tensor.reason = "test";
  tensor.source = &source;
  tensor.source_index = index;
  return tensor;
}

Plan make_plan(std::vector<PlannedTensor> tensors) {
  Plan plan;
  plan.metadata.set("general.architecture", Value::of_string("llama"));
  plan.tensors = std::move(tensors);
  return plan;
}

/// Counts what it is told and wants to stop after some pieces.
class CountingMonitor : public Monitor {
 public:
  explicit CountingMonitor(int stop_after = 1 << 30) : left_(stop_after) {}
  void begin(std::string_view, std::uint64_t n, Unit) override { total = n; }
  void advance(std::uint64_t n) override {
    done += n;
    --left_;
  }
  bool stop_requested() const override { return left_ <= 0; }
  std::uint64_t total = 0, done = 0;

 private:
  int left_;
};

/// Tensors that claim to be larger than any disk.
class HugeSource : public TinySource {
 public:
  const std::vector<TensorInfo>& tensors() const override { return huge_; }

 private:
  std::vector<TensorInfo> huge_ = {
      {"huge", DType::F32, {std::uint64_t{1} << 12, std::uint64_t{1} << 44}}};
};

}  // namespace

TEST_CASE("a plan's tensors are copied, converted, reordered and generated") {
  const TempDir dir;
  TinySource source;
  source.add_random({"a.weight", DType::F16, {512, 3000}});
  source.add_random({"b.weight", DType::F32, {64, 6}});
  PlannedTensor reversed = planned(source, 1, DType::F32);
  reversed.output.name = "reversed";
  reversed.source_row = [](std::uint64_t row) { return 5 - row; };
  PlannedTensor encoded = planned(source, 1, DType::Q8_0);
  encoded.output.name = "encoded";
  encoded.source_row = reversed.source_row;
  PlannedTensor made;
  made.output = {"made", DType::F16, {3}};
  made.values = {1, 2.5, -4};
  const Plan plan = make_plan(
      {planned(source, 0, DType::F16), planned(source, 1, DType::F32), reversed, encoded, made});
  std::string first;
  for (const int threads : {1, 2, 3}) {
    const auto file = dir / std::to_string(threads);
    CountingMonitor monitor;
    write_plan(plan, file, {.threads = threads}, monitor);
    CHECK(monitor.total == monitor.done);
    if (threads == 1) first = file_content(file);
    CHECK(file_content(file) == first);
  }
  CHECK(first.size() == plan.file_bytes());
  const GgufReader result(dir / "1");
  const auto same = [&](std::size_t index, std::span<const std::byte> expected) {
    const auto found = result.data(index);
    return found.size() == expected.size() &&
           std::memcmp(found.data(), expected.data(), found.size()) == 0;
  };
  CHECK(same(0, source.data(0)));
  CHECK(same(1, source.data(1)));
  const std::size_t row = 64 * sizeof(float), q_row = 2 * 34;
  const auto q8 = source.encoded(1, DType::Q8_0);
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(std::memcmp(result.data(2).data() + i * row, source.data(1).data() + (5 - i) * row,
                      row) == 0);
    CHECK(std::memcmp(result.data(3).data() + i * q_row, q8.data() + (5 - i) * q_row, q_row) == 0);
  }
  const std::uint16_t halves[] = {0x3c00, 0x4100, 0xc400};
  CHECK(same(4, std::as_bytes(std::span(halves))));
}

TEST_CASE("an interrupted or failed write leaves nothing") {
  const TempDir dir;
  TinySource source;
  source.add_random({"a.weight", DType::F32, {1024, 4096}});
  const Plan plan = make_plan({planned(source, 0, DType::F16)});
  for (const int threads : {1, 3}) {
    CountingMonitor monitor(2);
    CHECK(message_of(ErrorKind::interrupted, [&] {
            write_plan(plan, dir / "out.gguf", {.threads = threads}, monitor);
          }) == "interrupted");
    CHECK(monitor.done < monitor.total);
  }
  source.set(0, 4000000, INFINITY);
  CountingMonitor monitor;
  CHECK(holds(message_of(ErrorKind::input,
                         [&] { write_plan(plan, dir / "out.gguf", {.threads = 2}, monitor); }),
              "element 4000000 is inf"));
  CHECK(dir.names().empty());
}

TEST_CASE("existing files, full disks and small limits are refused before the work") {
  const TempDir dir;
  TinySource source;
  source.add_random({"a.weight", DType::F32, {4096, 16}});
  const Plan plan = make_plan({planned(source, 0, DType::F16)});
  CountingMonitor monitor;
  dir.write("old", std::string_view("old"));
  CHECK(holds(message_of(ErrorKind::file, [&] { write_plan(plan, dir / "old", {}, monitor); }),
              "--force"));
  CHECK(file_content(dir / "old") == "old");
  CHECK(holds(message_of(ErrorKind::file, [&] { write_plan(plan, "/dev/full", {}, monitor); }),
              "/dev/full"));
  CHECK(holds(message_of(ErrorKind::resource,
                         [&] { write_plan(plan, dir / "new", {.memory_limit = 4096}, monitor); }),
              "'a.weight'"));
  const HugeSource huge;
  const Plan too_large = make_plan({planned(huge, 0, DType::F16)});
  CHECK(holds(message_of(ErrorKind::file, [&] { write_plan(too_large, dir / "new", {}, monitor); }),
              "of disk space"));
  CHECK(dir.names() == std::vector<std::string>{"old"});
  write_plan(plan, dir / "old", {.existing = Existing::replace}, monitor);
  CHECK(file_content(dir / "old").substr(0, 4) == "GGUF");
  // Compressed by name, read as if it were not.
  write_plan(plan, dir / "a.gguf.zst", {}, monitor);
  CHECK(dir.names().size() == 2);
  CHECK(file_content(dir / "a.gguf.zst") != file_content(dir / "old"));
  CHECK(read_text(dir / "a.gguf.zst") == file_content(dir / "old"));
}

TEST_CASE("types without a codec can only be copied") {
  const TempDir dir;
  TinySource source;
  source.add_random({"a.weight", DType::F32, {256, 4}});
  DType none = DType::kCount;
  for (int i = 0; i < kDTypeCount; ++i)
    if (!traits(static_cast<DType>(i)).has_codec() && traits(static_cast<DType>(i)).values == 1)
      none = static_cast<DType>(i);
  REQUIRE(none != DType::kCount);
  CountingMonitor monitor;
  const Plan plan = make_plan({planned(source, 0, none)});
  CHECK(
      holds(message_of(ErrorKind::unsupported, [&] { write_plan(plan, dir / "out", {}, monitor); }),
            "can only be copied"));
}

TEST_CASE("memory stays within the limit for any number of threads") {
  TinySource source;
  source.add_random({"a.weight", DType::F32, {4096, 1024}});
  const Plan plan = make_plan({planned(source, 0, DType::Q8_0)});
  const auto one = peak_memory_bytes(plan, {.threads = 1});
  CHECK(one < (2u << 20));
  CHECK(peak_memory_bytes(plan, {.threads = 4}) > 3 * one);
  CHECK(peak_memory_bytes(plan, {.threads = 1000}) < (129u << 20));
  CHECK(peak_memory_bytes(plan, {.threads = 8, .memory_limit = 1 << 20}) < (11u << 17));
}

TEST_CASE("a report measures what the stored values are") {
  const TempDir dir;
  TinySource source;
  source.add_random({"a.weight", DType::F32, {512, 1500}});
  Plan plan = make_plan({planned(source, 0, DType::Q4_0), planned(source, 0, DType::F32)});
  plan.tensors[1].output.name = "copy";
  const auto before = source.values(0);
  std::vector<float> after(before.size());
  traits(DType::Q4_0).decode(source.encoded(0, DType::Q4_0).data(), after.data(), after.size());
  double squares = 0, worst = 0;
  std::size_t worst_at = 0;
  for (std::size_t at = 0; at < before.size(); at += 32) {
    double block = 0;
    for (std::size_t i = at; i < at + 32; ++i) {
      const double difference = static_cast<double>(before[i]) - static_cast<double>(after[i]);
      block += difference * difference;
    }
    squares += block;
    if (block > worst) {
      worst = block;
      worst_at = at;
    }
  }
  double first = 0;
  for (const int threads : {1, 3}) {
    std::vector<TensorReport> reports;
    CountingMonitor monitor;
    const WriteOptions options{.threads = threads, .report = &reports};
    write_plan(plan, dir / std::to_string(threads), options, monitor);
    REQUIRE(reports.size() == 2);
    const EncodingError& error = reports[0].error;
    CHECK(error.rmse() == doctest::Approx(std::sqrt(squares / static_cast<double>(before.size()))));
    CHECK(error.worst_element() == worst_at);
    CHECK(error.worst_rmse() == doctest::Approx(std::sqrt(worst / 32)));
    CHECK(error.cosine() > 0.99);
    CHECK(error.cosine() < 0.999);
    CHECK(reports[0].ns > 0);
    if (threads == 1) first = error.rmse();
    CHECK(error.rmse() == first);  // to the last bit
    const OrderedJson json = report_json(plan, dir / "1", options);
    CHECK(json.at("tensors")[0].at("rmse") == error.rmse());
    CHECK(json.at("tensors")[1].at("rmse").is_null());
  }
}

TEST_CASE("a plan can be shown before it is done") {
  TinySource source;
  source.add_random({"a.weight", DType::F32, {256, 4}});
  source.add_random({"b\n.weight", DType::F32, {256}});
  PlannedTensor other = planned(source, 0, DType::Q8_0);
  other.wanted_type = DType::Q6_K;
  const Plan plan = make_plan({other, planned(source, 1, DType::F32)});
  const OrderedJson json = plan_json(plan, "/tmp/out.gguf", {});
  CHECK(json.at("tensors").size() == 2);
  CHECK(json.at("tensors")[0].at("wanted_type") == "Q6_K");
  CHECK(json.at("tensors")[0].at("type") == "Q8_0");
  CHECK(json.at("tensors")[0].at("bytes") == 4 * 8 * 34);
  CHECK(json.at("fallbacks") == 1);
  CHECK(json.at("bits_per_weight") == 8.5);
  CHECK(json.at("total_bytes") == plan.file_bytes());
  CHECK(json.at("disk_free_bytes").is_number());
  const std::string text = plan_text(plan, "/tmp/out.gguf", {});
  CHECK(holds(text, "a.weight"));
  CHECK(holds(text, "b\\x0a.weight"));
  CHECK(holds(text, "bits per weight  8.500"));
}

}  // namespace lq
