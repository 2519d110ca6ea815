// Plans that are written in several runs.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/jobs/journal.h"
#include "lib/jobs/plan.h"
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

/// Wants to stop after some pieces; counts what was done.
class StoppingMonitor : public Monitor {
 public:
  explicit StoppingMonitor(int pieces) : left_(pieces) {}
  void advance(std::uint64_t) override { --left_; }
  bool stop_requested() const override { return left_ <= 0; }

 private:
  int left_;
};

class Fixture {
 public:
  Fixture() {
    source_.add_random({"a.weight", DType::F32, {1024, 1500}});
    source_.add_random({"b.weight", DType::F32, {512, 700}});
    source_.add_random({"c.weight", DType::F16, {256, 3000}});
    plan.metadata.set("general.architecture", Value::of_string("llama"));
    plan.n_parts = 2;
    for (std::size_t i = 0; i < 3; ++i) {
      PlannedTensor tensor;
      tensor.output = source_.tensors()[i];
      if (i < 2) tensor.output.type = DType::Q8_0;
      tensor.wanted_type = tensor.output.type;
      tensor.source = &source_;
      tensor.source_index = i;
      tensor.file = i / 2;
      plan.tensors.push_back(std::move(tensor));
    }
    Monitor monitor;
    write_plan(plan, dir_ / "whole", {.report = &expected_report_}, monitor);
    for (const auto& file : plan.files(dir_ / "whole")) expected_.push_back(file_content(file));
  }

  std::filesystem::path output() const { return dir_ / "out"; }
  std::filesystem::path first(const char* ending) const {
    return plan.files(output())[0].string() + ending;
  }

  /// Stops after some pieces; nothing may have its name.
  void stop_after(int pieces, std::vector<TensorReport>* report = nullptr) {
    StoppingMonitor monitor(pieces);
    const WriteOptions options{.resume = true, .report = report};
    CHECK(message_of(ErrorKind::interrupted,
                     [&] { write_plan(plan, output(), options, monitor); }) == "interrupted");
    for (const auto& file : plan.files(output())) CHECK(!std::filesystem::exists(file));
  }

  /// Completes the work and compares; returns the number of pieces that had to be done.
  void complete(std::vector<TensorReport>* report = nullptr) {
    Monitor monitor;
    write_plan(plan, output(), {.resume = true, .report = report}, monitor);
    const auto files = plan.files(output());
    for (std::size_t i = 0; i < files.size(); ++i) CHECK(file_content(files[i]) == expected_[i]);
    CHECK(dir_.names().size() == 4);
    for (const auto& file : files) std::filesystem::remove(file);
  }

  void check_report(const std::vector<TensorReport>& report) const {
    REQUIRE(report.size() == expected_report_.size());
    for (std::size_t i = 0; i < report.size(); ++i) {
      CHECK(report[i].error.rmse() == expected_report_[i].error.rmse());
      CHECK(report[i].error.worst_element() == expected_report_[i].error.worst_element());
    }
  }

  Plan plan;

 private:
  TempDir dir_;
  TinySource source_;
  std::vector<std::string> expected_;
  std::vector<TensorReport> expected_report_;
};

}  // namespace

TEST_CASE("a stopped run goes on with the same bytes and the same report") {
  Fixture work;
  for (const int pieces : {1, 2, 5, 8}) {
    std::vector<TensorReport> report;
    work.stop_after(pieces, &report);
    work.complete(&report);
    work.check_report(report);
  }
  for (int i = 0; i < 4; ++i) work.stop_after(4 + 2 * i);  // taken over pieces count, too
  work.complete();
  std::vector<TensorReport> report;
  work.stop_after(5);  // not measured: done again
  work.complete(&report);
  work.check_report(report);
}

TEST_CASE("what is damaged after a stopped run is done again") {
  Fixture work;
  work.stop_after(6);
  const auto partial = work.first(".lq-partial"), journal = work.first(".lq-journal");
  std::string bytes = file_content(partial);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  bytes[3000] = static_cast<char>(bytes[3000] ^ 1);
  std::ofstream(partial, std::ios::binary) << bytes;
  work.complete();
  work.stop_after(6);
  std::filesystem::remove(partial);
  work.complete();
  work.stop_after(6);
  const auto size = std::filesystem::file_size(journal);
  std::filesystem::resize_file(journal, size - 5);
  work.complete();
  work.stop_after(6);
  std::ofstream(journal, std::ios::binary | std::ios::app) << std::string(500, 'x');
  work.complete();
  work.stop_after(6);
  std::filesystem::resize_file(partial, 100);
  work.complete();
}

TEST_CASE("what was kept of other work is not used") {
  Fixture work;
  work.stop_after(6);
  work.plan.metadata.set("general.name", Value::of_string("other"));
  Monitor monitor;
  const auto write = [&] { write_plan(work.plan, work.output(), {.resume = true}, monitor); };
  CHECK(holds(message_of(ErrorKind::usage, write), "of another input, other options"));
  work.plan.metadata.remove("general.name");
  work.complete();
  std::ofstream(work.first(".lq-journal")) << "notes of mine that are longer than a head of it";
  CHECK(holds(message_of(ErrorKind::usage, write), "is not a journal"));
  CHECK(file_content(work.first(".lq-journal")).substr(0, 5) == "notes");
}

TEST_CASE("a run that was stopped while it named its files is completed") {
  Fixture work;
  work.stop_after(6);
  const auto identity = identity_of(work.plan, {});
  Journal(work.first(".lq-journal"), identity, false).begin_naming();
  std::filesystem::rename(work.first(".lq-partial"), work.first(""));
  work.complete();
  work.stop_after(6);
  Journal(work.first(".lq-journal"), identity, false).begin_naming();
  std::filesystem::create_hard_link(work.first(".lq-partial"), work.first(""));
  work.complete();
}

TEST_CASE("two runs do not write one model at the same time") {
  Fixture work;
  work.stop_after(3);
  const Journal open(work.first(".lq-journal"), identity_of(work.plan, {}), false);
  Monitor monitor;
  CHECK(holds(message_of(ErrorKind::file,
                         [&] { write_plan(work.plan, work.output(), {.resume = true}, monitor); }),
              "another run"));
}

}  // namespace lq
