#include "lib/jobs/importance.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/io/mapped_file.h"
#include "lib/jobs/importance_statistics.h"
#include "tests/support/errors.h"
#include "tests/support/expert_model.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/mutate.h"
#include "tests/support/places.h"
#include "tests/support/temp_dir.h"

namespace lq {
namespace {

using test::Bytes;
using test::error_of;
using test::expert_importance;
using test::file_content;
using test::GgufBuilder;
using test::holds;
using test::message_of;
using test::TempDir;
using test::testdata;

/// Both forms of one matrix, by the reference's tool.
std::string reference(const char* form) { return testdata(std::string("importance/demo.") + form); }

/// One entry with two experts of three columns.
GgufBuilder small_matrix() {
  GgufBuilder builder;
  builder.string("general.type", "imatrix")
      .strings("imatrix.datasets", {"a.txt"})
      .u32("imatrix.chunk_count", 2)
      .u32("imatrix.chunk_size", 16);
  const float sums[] = {1, 2, 3, 4, 5, 6}, counts[] = {8, 24};
  builder.tensor({"w.in_sum2", {3, 2}, 0, Bytes().raw(std::as_bytes(std::span(sums))).all});
  builder.tensor({"w.counts", {1, 2}, 0, Bytes().raw(std::as_bytes(std::span(counts))).all});
  return builder;
}

Bytes small_dat() {
  return Bytes()
      .put(std::int32_t{1})
      .put(std::int32_t{1})
      .text("w")
      .put(std::int32_t{4})
      .put(std::int32_t{2})
      .put(8.0f)
      .put(2.0f)
      .put(std::int32_t{7})
      .put(std::int32_t{5})
      .text("a.txt");
}

std::string refusal(const std::vector<std::byte>& bytes) {
  return message_of(ErrorKind::input, [&] { parse_importance(bytes, "im"); });
}

}  // namespace

TEST_CASE("both forms of the reference's matrix are read, and written again to the byte") {
  const TempDir dir;
  const ImportanceMatrix gguf = read_importance(reference("gguf"));
  CHECK(gguf.entries.size() == 28);
  CHECK(gguf.chunk_count == 35);
  CHECK(gguf.chunk_size == 128);
  CHECK(gguf.datasets == std::vector<std::string>{"text.txt"});
  CHECK(!gguf.legacy);
  const ImportanceEntry& down = gguf.entries.at("blk.0.ffn_down.weight");
  CHECK(down.columns() == 768);
  CHECK(down.counts == std::vector<std::int64_t>{35 * 128});
  write_importance(gguf, dir / "again.gguf", Existing::refuse);
  CHECK(file_content(dir / "again.gguf") == file_content(reference("gguf")));
  write_importance(gguf, dir / "again.dat", Existing::refuse);
  CHECK(file_content(dir / "again.dat") == file_content(reference("dat")));

  const ImportanceMatrix dat = read_importance(reference("dat"));
  CHECK(dat.legacy);
  CHECK(dat.chunk_count == 35);
  CHECK(dat.datasets == gguf.datasets);
  REQUIRE(dat.entries.size() == 28);
  for (const auto& [name, entry] : dat.entries) {
    CHECK(entry.counts == std::vector<std::int64_t>{35});
    const ImportanceEntry& other = gguf.entries.at(name);
    REQUIRE(entry.sums.size() == other.sums.size());
    double worst = 0;
    for (std::size_t i = 0; i < entry.sums.size(); ++i)
      worst = std::fmax(worst, std::fabs(static_cast<double>(entry.sums[i]) * 128 /
                                             static_cast<double>(other.sums[i]) -
                                         1));
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("matrices are merged as the reference merges them, to the byte") {
  const TempDir dir;
  const auto merged = [](std::initializer_list<const char*> forms) {
    ImportanceMatrix sum;
    sum.chunk_size = 128;
    for (const char* form : forms) merge_importance(sum, read_importance(reference(form)));
    return sum;
  };
  const ImportanceMatrix both = merged({"gguf", "dat"});
  CHECK(both.chunk_count == 70);
  CHECK(both.datasets.size() == 2);
  write_importance(both, dir / "both.gguf", Existing::refuse);
  CHECK(file_content(dir / "both.gguf") == file_content(testdata("importance/gguf+dat.gguf")));
  write_importance(merged({"gguf", "gguf"}), dir / "both.dat", Existing::refuse);
  CHECK(file_content(dir / "both.dat") == file_content(testdata("importance/gguf+gguf.dat")));
}

TEST_CASE("experts are kept apart, and those without a token are marked") {
  const TempDir dir;
  const ImportanceMatrix experts = expert_importance();
  write_importance(experts, dir / "e.gguf", Existing::refuse);
  const ImportanceMatrix again = read_importance(dir / "e.gguf");
  for (const auto& [name, entry] : experts.entries) {
    CHECK(again.entries.at(name).sums == entry.sums);
    CHECK(again.entries.at(name).counts == entry.counts);
  }
  // The old form has no counts: an expert without a token gets ones.
  write_importance(experts, dir / "e.dat", Existing::refuse);
  const ImportanceMatrix old_form = read_importance(dir / "e.dat");
  const ImportanceEntry& old = old_form.entries.at("blk.0.ffn_up_exps.weight");
  REQUIRE(old.sums.size() == 4 * 256);
  CHECK(old.counts == std::vector<std::int64_t>{5});  // 250 tokens in chunks of 50
  CHECK(old.sums[2 * 256] == 5.0f);
  const ImportanceEntry& up = experts.entries.at("blk.0.ffn_up_exps.weight");
  CHECK(old.sums[256] == up.sums[256] / 150.0f * 5.0f);
  // A file without counts for each expert, and one with: the first one's stands for all.
  ImportanceMatrix sum;
  sum.chunk_size = 50;
  merge_importance(sum, read_importance(dir / "e.dat"));
  merge_importance(sum, experts);
  CHECK(sum.entries.at("blk.0.ffn_up_exps.weight").counts ==
        std::vector<std::int64_t>{250 + 100, 250 + 150, 250, 250 + 250});
}

TEST_CASE("matrices of different models are not merged") {
  ImportanceMatrix sum = expert_importance();
  ImportanceMatrix other = expert_importance();
  other.entries.at("blk.0.attn_q.weight").sums.resize(128);
  CHECK(holds(message_of(ErrorKind::input, [&] { merge_importance(sum, other); }),
              "'blk.0.attn_q.weight' has 128 values; the files before it have 256"));
  other = expert_importance();
  ImportanceEntry& up = other.entries.at("blk.1.ffn_up_exps.weight");
  up.counts = {1, 2};
  CHECK(holds(message_of(ErrorKind::input, [&] { merge_importance(sum, other); }), "2 experts"));
}

TEST_CASE("sums that make no sense are named") {
  ImportanceEntry entry{.sums = {1, 2, 3, 4}, .counts = {5, 5}};
  CHECK_NOTHROW(check_importance("f", "w", entry));
  for (const float bad : {-1.0f, 1e25f, HUGE_VALF, std::nanf("")}) {
    entry.sums[3] = bad;
    CHECK(holds(message_of(ErrorKind::input, [&] { check_importance("f", "w", entry); }),
                "f: entry 'w': the sum of squares of column 1 is "));
  }
}

TEST_CASE("what is no importance matrix is refused with the reason") {
  CHECK(parse_importance(small_matrix().build(), "im").entries.at("w").columns() == 3);
  CHECK(holds(refusal(small_matrix().without("imatrix.chunk_size").build()),
              "imatrix.chunk_size is missing"));
  CHECK(holds(refusal(small_matrix().without_tensor("w.counts").build()), "'w.counts'"));
  CHECK(holds(refusal(small_matrix().without_tensor("w.in_sum2").build()), "'w.in_sum2'"));
  CHECK(
      holds(refusal(small_matrix().without_tensor("w.in_sum2").without_tensor("w.counts").build()),
            "without entries"));
  const float counts[] = {1, 2, 4, 8};
  const Bytes four = Bytes().raw(std::as_bytes(std::span(counts)));
  CHECK(holds(refusal(small_matrix()
                          .without_tensor("w.counts")
                          .tensor({"w.counts", {1, 4}, 0, four.all})
                          .build()),
              "6 values for 4 matrices"));
  for (const float count : {-1.0f, 1e20f, std::nanf("")}) {
    const float bad[] = {1, count};
    const Bytes two = Bytes().raw(std::as_bytes(std::span(bad)));
    CHECK(holds(refusal(small_matrix()
                            .without_tensor("w.counts")
                            .tensor({"w.counts", {1, 2}, 0, two.all})
                            .build()),
                "entry 'w' counts "));
  }
  const Bytes halves = Bytes().put(std::int16_t{1}).put(std::int16_t{1});
  CHECK(holds(refusal(small_matrix()
                          .without_tensor("w.counts")
                          .tensor({"w.counts", {1, 2}, 1, halves.all})
                          .build()),
              "expected F32"));
  CHECK(holds(refusal(test::tiny_llama().build()), "imatrix.datasets"));
  CHECK(!refusal({}).empty());

  CHECK(parse_importance(small_dat().all, "im").entries.at("w").sums == std::vector<float>{8, 2});
  Bytes twice = Bytes().put(std::int32_t{2});
  for (int i = 0; i < 2; ++i)
    twice.put(std::int32_t{1}).text("w").put(std::int32_t{4}).put(std::int32_t{1}).put(8.0f);
  CHECK(holds(refusal(twice.all), "at byte 21: entry 'w' is there twice"));
  CHECK(holds(refusal(Bytes().put(std::int32_t{-1}).put(0).put(0).put(0).put(0).all),
              "at byte 0: number of entries is -1; expected 1 to"));
  CHECK(holds(
      refusal(Bytes().put(std::int32_t{1}).put(std::int32_t{1 << 30}).put(0).put(0).put(0).all),
      "at byte 4: length of a name is 1073741824"));
}

TEST_CASE("any damage to an importance matrix gives a matrix or an error") {
  std::size_t n_read = 0, n_refused = 0;
  for (const auto& original : {small_matrix().build(), small_dat().all})
    test::for_each_mutation(original, [&](const std::vector<std::byte>& damaged) {
      const auto error = error_of([&] {
        const ImportanceMatrix matrix = parse_importance(damaged, "im");
        for (const auto& [name, entry] : matrix.entries) {
          REQUIRE(!entry.counts.empty());
          REQUIRE(entry.sums.size() == entry.columns() * entry.counts.size());
        }
        REQUIRE(importance_statistics(matrix).size() == matrix.entries.size());
        ++n_read;
      });
      if (error) {
        ++n_refused;
        CHECK(holds(error->what(), "im"));
      }
    });
  CHECK(n_read > 100);
  CHECK(n_refused > 100);
}

TEST_CASE("importance matrices are recognised by their content") {
  const TempDir dir;
  CHECK(is_importance_file(reference("gguf")));
  CHECK(is_importance_file(reference("dat")));
  CHECK(!is_importance_file(testdata("importance/text.txt")));
  CHECK(!is_importance_file(dir.write("model.gguf", test::tiny_llama().build())));
  CHECK(!is_importance_file(dir.write("short", std::string_view("\1\0\0", 3))));
  CHECK(!is_importance_file(dir / "missing"));
  CHECK(!is_importance_file(dir.path()));
}

TEST_CASE("statistics are the reference's") {
  // llama-imatrix --show-statistics on the same file.
  struct Row {
    const char* name;
    double sum, min, max, active, entropy, evenness, outliers, cosine;
  };
  const Row rows[] = {
      {"blk.3.attn_k.weight", 456.74, 0.9840, 10.3924, 1, 7.9101, .9888, .0586, 0.9447},
      {"blk.0.attn_output.weight", 0.78, 0.0008, 0.0125, 1, 7.6367, .9546, .1211, 0},
      {"blk.3.ffn_down.weight", 4329.19, 0.0028, 147.7180, 1, 8.4592, .8826, .0547, 0.3187},
      {"blk.2.ffn_down.weight", 525.63, 0.0183, 7.5131, 1, 9.2132, .9612, .0729, 0.2609},
  };
  const auto all = importance_statistics(read_importance(reference("gguf")));
  REQUIRE(all.size() == 28);
  for (const Row& row : rows) {
    CAPTURE(row.name);
    const auto at = std::find_if(all.begin(), all.end(),
                                 [&](const ImportanceStatistics& s) { return s.name == row.name; });
    REQUIRE(at != all.end());
    const auto near = [](double found, double expected, double places) {
      return std::fabs(found - expected) <= 0.51 * std::pow(10.0, -places);
    };
    CHECK(near(at->sum, row.sum, 2));
    CHECK(near(at->min, row.min, 4));
    CHECK(near(at->max, row.max, 4));
    CHECK(near(at->active_share, row.active, 4));
    CHECK(near(at->entropy, row.entropy, 4));
    CHECK(near(at->evenness, row.evenness, 4));
    CHECK(near(at->outlier_share, row.outliers, 4));
    CHECK(near(at->previous_cosine, row.cosine, 4));
  }
  const auto experts = importance_statistics(expert_importance());
  const auto up = std::find_if(experts.begin(), experts.end(), [](const ImportanceStatistics& s) {
    return s.name == "blk.0.ffn_up_exps.weight";
  });
  REQUIRE(up != experts.end());
  CHECK(up->matrices == 4);
  CHECK(up->unseen == 1);
  CHECK(up->columns == 256);
  CHECK(up->most_tokens == 250);
}

}  // namespace lq
