#include "lib/jobs/quantize_importance.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "lib/base/sha256.h"
#include "lib/format/gguf_reader.h"
#include "lib/io/mapped_file.h"
#include "lib/jobs/quantize.h"
#include "tests/support/errors.h"
#include "tests/support/expert_model.h"
#include "tests/support/places.h"
#include "tests/support/temp_dir.h"

namespace lq {
namespace {

using test::expert_importance;
using test::file_content;
using test::holds;
using test::message_of;
using test::TempDir;
using test::testdata;

/// The model with experts, opened.
struct ExpertModel {
  TempDir dir;
  std::unique_ptr<TensorSource> source;

  ExpertModel() {
    test::write_expert_model(dir / "experts.gguf");
    source = open_source(dir / "experts.gguf");
  }
  Plan plan(const char* type, const ImportanceOptions& importance) const {
    return make_quantize_plan(*source,
                              {.recipe = find_quantize_type(type), .importance = importance});
  }
};

const PlannedTensor& tensor_of(const Plan& plan, const std::string& name) {
  const auto at = std::find_if(plan.tensors.begin(), plan.tensors.end(),
                               [&](const PlannedTensor& t) { return t.output.name == name; });
  REQUIRE(at != plan.tensors.end());
  return *at;
}

/// All warnings, a line each.
std::string warnings_of(const Plan& plan) {
  std::string text;
  for (const std::string& warning : plan.warnings) text += warning + "\n";
  return text;
}

}  // namespace

TEST_CASE("files of a model with experts are the reference's with importance, byte for byte") {
  const ExpertModel model;
  const ImportanceMatrix matrix = expert_importance();
  std::istringstream lines(file_content(testdata("importance/quantize.sha256")));
  int n_files = 0, n_skipped = 0;
  for (std::string digest, name; lines >> digest >> name;) {
    if (name.substr(0, 8) != "experts-") continue;
    CAPTURE(name);
    const std::string type = name.substr(8, name.find('.') - 8);
    if (const Recipe* recipe = find_recipe(type); recipe && !has_codecs(*recipe)) {
      ++n_skipped;
      continue;
    }
    const Plan plan = model.plan(type.c_str(), {.matrix = &matrix, .file = "experts-imatrix.gguf"});
    Monitor monitor;
    write_plan(plan, model.dir / name, {.threads = n_files % 3 + 1}, monitor);
    const MappedFile file(model.dir / name);
    CHECK(sha256_hex(file.bytes()) == digest);
    ++n_files;
  }
  MESSAGE("files with importance: " << n_files << " compared, " << n_skipped
                                    << " of types without a codec skipped");
  CHECK(n_files >= 15);
}

TEST_CASE("every matrix gets its means, experts their own") {
  const ExpertModel model;
  ImportanceMatrix matrix = expert_importance();
  const Plan plan = model.plan("Q4_K_M", {.matrix = &matrix});
  const auto& up = tensor_of(plan, "blk.0.ffn_up_exps.weight");
  REQUIRE(up.importance);
  REQUIRE(up.importance->size() == 4 * 256);
  const ImportanceEntry& entry = matrix.entries.at("blk.0.ffn_up_exps.weight");
  CHECK(up.importance_of(0)[3] == entry.sums[3] / 100.0f);
  CHECK(up.importance_of(511)[3] == entry.sums[3] / 100.0f);
  CHECK(up.importance_of(512)[3] == entry.sums[256 + 3] / 150.0f);
  CHECK(up.importance_of(1024)[3] == 1.0f);  // saw no token
  CHECK(!tensor_of(plan, "output.weight").importance);
  CHECK(!tensor_of(plan, "blk.0.attn_norm.weight").importance);
  CHECK(!tensor_of(plan, "blk.1.attn_k.weight").importance);
  const std::string warnings = warnings_of(plan);
  CHECK(holds(warnings, "says nothing of 1 tensor, encoded without importance: blk.1.attn_k"));
  const auto exps = [](const std::string& layer) {
    return layer + "ffn_down_exps.weight, " + layer + "ffn_gate_exps.weight, " + layer +
           "ffn_up_exps.weight\n";
  };
  CHECK(holds(warnings, "experts that saw fewer than 64 tokens: 2 (0) of " + exps("blk.0.")));
  CHECK(holds(warnings, "experts that saw fewer than 64 tokens: 3 (5) of " + exps("blk.1.")));
  CHECK(!holds(warnings, "token_embd"));
  // Types without a use for it do not ask.
  CHECK(model.plan("F16", {.matrix = &matrix}).warnings.empty());
  CHECK(holds(warnings_of(model.plan("Q4_0", {.matrix = &matrix, .min_expert_tokens = 1})),
              "tokens: 2 (0) of"));
}

TEST_CASE("a matrix of zeros says nothing, and does no harm") {
  const ExpertModel model;
  ImportanceMatrix matrix = expert_importance();
  auto& sums = matrix.entries.at("blk.0.ffn_up_exps.weight").sums;
  std::fill(sums.begin() + 256, sums.begin() + 512, 0.0f);
  auto& query = matrix.entries.at("blk.0.attn_q.weight").sums;
  std::fill(query.begin(), query.end(), 0.0f);
  const Plan plan = model.plan("Q2_K", {.matrix = &matrix});
  CHECK(tensor_of(plan, "blk.0.ffn_up_exps.weight").importance_of(512)[9] == 1.0f);
  CHECK(tensor_of(plan, "blk.0.ffn_up_exps.weight").importance_of(0)[9] == sums[9] / 100.0f);
  CHECK(tensor_of(plan, "blk.0.attn_q.weight").importance_of(0)[0] == 1.0f);
  CHECK(holds(warnings_of(plan), "'blk.0.ffn_up_exps.weight', matrix 1, is zero everywhere"));
  CHECK(holds(warnings_of(plan), "'blk.0.attn_q.weight' is zero everywhere"));
}

TEST_CASE("what is wrong with importance is said before anything is written") {
  const ExpertModel model;
  ImportanceMatrix matrix = expert_importance();
  matrix.entries.at("blk.0.attn_q.weight").sums.resize(128);
  auto& up = matrix.entries.at("blk.1.ffn_up_exps.weight");
  up.sums.resize(256);
  up.counts.resize(1);
  const auto wrong =
      message_of(ErrorKind::input, [&] { model.plan("Q4_K_M", {.matrix = &matrix}); });
  CHECK(holds(wrong, "'blk.0.attn_q.weight' has 128 values, expected 256"));
  CHECK(holds(wrong, "'blk.1.ffn_up_exps.weight' has 256 values, expected 1024"));
  // The embedding's entry may be of another use of the matrix.
  matrix = expert_importance();
  matrix.entries["token_embd.weight"] = {.sums = {1, 2}, .counts = {1}};
  CHECK(holds(warnings_of(model.plan("Q4_K_M", {.matrix = &matrix})),
              "'token_embd.weight' has 2 values"));
  matrix.entries.at("blk.0.attn_q.weight").sums[7] = NAN;
  CHECK(holds(message_of(ErrorKind::input, [&] { model.plan("Q4_K_M", {.matrix = &matrix}); }),
              "column 7 is nan"));
  CHECK_NOTHROW(model.plan("Q4_K_M", {.matrix = &matrix, .exclude = {"attn_q"}}));
}

TEST_CASE("entries are chosen by parts of names") {
  const ExpertModel model;
  const ImportanceMatrix matrix = expert_importance();
  const Plan some = model.plan("Q4_0", {.matrix = &matrix, .include = {"attn_v", "blk.1.attn_o"}});
  CHECK(tensor_of(some, "blk.0.attn_v.weight").importance);
  CHECK(tensor_of(some, "blk.1.attn_output.weight").importance);
  CHECK(!tensor_of(some, "blk.0.attn_output.weight").importance);
  CHECK(some.metadata.integer("quantize.imatrix.entries_count", 0, 100) == 3);
  const Plan others = model.plan("Q4_0", {.matrix = &matrix, .exclude = {"exps"}});
  CHECK(!tensor_of(others, "blk.0.ffn_up_exps.weight").importance);
  CHECK(tensor_of(others, "blk.0.attn_v.weight").importance);
  CHECK(!holds(warnings_of(others), "exps"));  // as it was wished
  CHECK(holds(message_of(ErrorKind::usage,
                         [&] { model.plan("Q4_0", {.matrix = &matrix, .exclude = {"blk"}}); }),
              "none of its 13 entries"));
}

TEST_CASE("tensors that need importance and have none: refused, raised, or all columns alike") {
  const ExpertModel model;
  const ImportanceMatrix matrix = expert_importance();
  const auto refused =
      message_of(ErrorKind::unsupported, [&] { model.plan("Q2_K_S", {.matrix = &matrix}); });
  CHECK(holds(refused, "1 tensor cannot be made without importance: blk.1.attn_k.weight (Q2_K)"));
  CHECK(holds(refused, "--on-missing"));
  const auto all = message_of(ErrorKind::unsupported, [&] { model.plan("Q2_K_S", {}); });
  CHECK(holds(all, " more; give it with --imatrix or --calibrate"));
  CHECK_NOTHROW(model.plan("Q2_K", {}));

  const Plan raised = model.plan("Q2_K_S", {.matrix = &matrix, .on_missing = OnMissing::raise});
  const auto& key = tensor_of(raised, "blk.1.attn_k.weight");
  CHECK(key.output.type == DType::Q3_K);
  CHECK(key.wanted_type == DType::Q2_K);
  CHECK(key.reason == "no importance: raised from Q2_K");
  CHECK(tensor_of(raised, "blk.0.attn_k.weight").output.type == DType::Q2_K);
  CHECK(raised.fallbacks() == 1);
  CHECK(holds(warnings_of(raised), "got a larger type: blk.1.attn_k.weight (Q2_K)"));

  const Plan uniform = model.plan("Q2_K_S", {.matrix = &matrix, .on_missing = OnMissing::uniform});
  const auto& alike = tensor_of(uniform, "blk.1.attn_k.weight");
  CHECK(alike.output.type == DType::Q2_K);
  REQUIRE(alike.importance);
  CHECK(*alike.importance == std::vector<float>(256, 1.0f));
  const Plan none = model.plan("Q2_K_S", {.on_missing = OnMissing::uniform});
  CHECK(tensor_of(none, "blk.0.ffn_up_exps.weight").importance->size() == 4 * 256);
  // The embedding and the output are made without.
  CHECK(!tensor_of(none, "token_embd.weight").importance);
  // What will be measured is taken to be there.
  CHECK(model.plan("Q2_K_S", {.to_be_measured = true}).warnings.empty());
}

TEST_CASE(
    "every type that needs importance has one to be raised to, and the rule is the reference's") {
  const Recipe& small = *find_recipe("Q2_K_S");
  const Recipe& other = *find_recipe("Q2_K");
  CHECK(demands_importance(small, "blk.0.attn_k.weight", DType::Q2_K));
  CHECK(!demands_importance(other, "blk.0.attn_k.weight", DType::Q2_K));
  CHECK(!demands_importance(small, "output.weight", DType::Q2_K));
  int n = 0;
  for (int i = 0; i < kDTypeCount; ++i)
    if (demands_importance(other, "blk.0.attn_k.weight", static_cast<DType>(i))) ++n;
  CHECK(n == 6);
  for (const char* name : {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS"}) {
    const Recipe& recipe = *find_recipe(name);
    CHECK(recipe.needs_importance);
    CHECK(demands_importance(recipe, "blk.0.ffn_up.weight", recipe.type));
  }
}

TEST_CASE("what was used is written into the metadata, in the reference's order") {
  const ExpertModel model;
  const ImportanceMatrix matrix = expert_importance();
  const Plan plan = model.plan("Q8_0", {.matrix = &matrix, .file = std::string(200, 'f')});
  const auto& entries = plan.metadata.entries();
  const std::size_t n = entries.size();
  REQUIRE(n > 5);
  CHECK(entries[n - 5].key == "general.file_type");
  CHECK(entries[n - 4].key == "quantize.imatrix.file");
  CHECK(entries[n - 4].value == Value::of_string(std::string(127, 'f')));
  CHECK(entries[n - 3].value == Value::of_string("experts.txt"));
  CHECK(entries[n - 2].value == Value::of_u32(13));
  CHECK(entries[n - 1].key == "quantize.imatrix.chunks_count");
  CHECK(entries[n - 1].value == Value::of_u32(5));
  CHECK(!model.plan("Q8_0", {}).metadata.has("quantize.imatrix.entries_count"));
}

}  // namespace lq
