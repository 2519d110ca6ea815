// Every file type, with and without importance, made with every instruction set, against digests of
// the reference's files.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/kernel_table.h"
#include "lib/base/error.h"
#include "lib/base/sha256.h"
#include "lib/io/mapped_file.h"
#include "lib/jobs/quantize.h"
#include "tests/support/made_models.h"
#include "tests/support/places.h"
#include "tests/support/temp_dir.h"

namespace lq {
namespace {

using test::MadeModel;

/// The digest of the file that we write, or "refused".
std::string digest_of(const TensorSource& source, const Recipe& recipe,
                      const ImportanceOptions& importance, const std::filesystem::path& output,
                      int threads) {
  try {
    QuantizeOptions options;
    options.recipe = &recipe;
    options.importance = importance;
    const Plan plan = make_quantize_plan(source, options);
    Monitor monitor;
    write_plan(plan, output, {.threads = threads, .existing = Existing::replace}, monitor);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::unsupported);
    return "refused";
  }
  return sha256_hex(MappedFile(output).bytes());
}

/// Makes this instruction set the chosen one until the end of the scope.
class ForcedSet {
 public:
  explicit ForcedSet(const char* name) { ::setenv("LQ_CPU_ISA", name, 1); }
  ~ForcedSet() { ::unsetenv("LQ_CPU_ISA"); }
  ForcedSet(const ForcedSet&) = delete;
  ForcedSet& operator=(const ForcedSet&) = delete;
};

void compare_files_with(const kernels::KernelSet& set, std::string_view model_name) {
  const ForcedSet forced(set.table->name);
  const auto models = test::made_models();
  const auto model = std::find_if(models.begin(), models.end(),
                                  [&](const MadeModel& m) { return m.name == model_name; });
  REQUIRE(model != models.end());
  // "MODEL/TYPE" or "MODEL/TYPE/imatrix" to a digest, or to "refused".
  const auto expected = test::digests(test::testdata("golden/whole_files.sha256"));
  const test::TempDir dir;
  const auto source = open_source(dir.write("model.gguf", test::made_file(*model)));
  const ImportanceMatrix matrix = test::made_importance(*model);
  int n_equal = 0, n_refused = 0;
  for (const Recipe& recipe : recipes()) {
    for (const bool with : {false, true}) {
      const std::string key =
          std::string(model_name) + "/" + recipe.name + (with ? "/imatrix" : "");
      INFO(key);
      if (!expected.count(key)) continue;
      ImportanceOptions importance;
      if (with) {
        importance.matrix = &matrix;
        importance.file = "made.imatrix";
      }
      const int threads = n_equal % 3 + 1;
      const std::string digest =
          digest_of(*source, recipe, importance, dir / "output.gguf", threads);
      CHECK(digest == expected.at(key));
      ++(digest == "refused" ? n_refused : n_equal);
    }
  }
  MESSAGE(model_name << ", " << std::string(set.table->name) << ": " << n_equal
                     << " files equal the reference's, " << n_refused << " refused as there");
  const auto n_expected = std::count_if(expected.begin(), expected.end(), [&](const auto& entry) {
    return entry.first.starts_with(std::string(model_name) + "/");
  });
  CHECK(n_equal + n_refused == n_expected);
  CHECK(n_equal > n_refused);
}

void compare_files_of(std::string_view model_name) {
  for (const kernels::KernelSet& set : kernels::kernel_sets())
    if (set.supported) compare_files_with(set, model_name);
}

}  // namespace

TEST_CASE("whole files: a dense model with grouped attention") { compare_files_of("dense-f32"); }
TEST_CASE("whole files: a dense model of bfloat16") { compare_files_of("dense-bf16"); }
TEST_CASE("whole files: embedding and output are one") { compare_files_of("tied-f16"); }
TEST_CASE("whole files: eight experts") { compare_files_of("experts8-f16"); }
TEST_CASE("whole files: four experts") { compare_files_of("experts4-bf16"); }
TEST_CASE("whole files: rows of nine blocks of 32") { compare_files_of("rows288-f32"); }
TEST_CASE("whole files: rows of no whole blocks") { compare_files_of("rows400-f16"); }

}  // namespace lq
