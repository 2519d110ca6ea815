// Small quantized folders with every byte of their headers damaged.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "lib/io/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/mutate.h"
#include "tests/support/quantized_bytes.h"
#include "tests/support/quantized_checkpoint.h"
#include "tests/support/temp_dir.h"

namespace lq {
namespace {

/// A folder with one small matrix as read_quantized_bytes() takes it.
std::vector<std::byte> small_folder(const char* name) {
  const test::TempDir dir;
  test::write_one_matrix(dir / "model", 32, 64);
  test::write_quantized(dir / "model", test::quantized_case(name), dir / "q");
  Json config = Json::parse(read_text(dir / "q" / "config.json"));
  if (std::filesystem::exists(dir / "q" / "hf_quant_config.json"))
    config["modelopt"] = Json::parse(read_text(dir / "q" / "hf_quant_config.json"));
  const std::string text = config.dump() + '\0' + read_text(dir / "q" / "model.safetensors");
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("quantized folders: any damaged byte is an error or other values") {
  for (const char* name : {"w4a-32", "fp8inv", "gptq-W3A16", "nf4d", "nvfp4"}) {
    CAPTURE(std::string(name));
    const std::vector<std::byte> whole = small_folder(name);
    CHECK(test::read_quantized_bytes(whole));
    int n_errors = 0, n_wrong = 0;
    const std::size_t header = std::min<std::size_t>(whole.size(), 2500);  // and configuration
    const std::vector<std::byte> tail(whole.begin() + static_cast<long>(header), whole.end());
    test::for_each_mutation(std::span(whole).first(header), [&](std::vector<std::byte> damaged) {
      if (damaged.size() == header) damaged.insert(damaged.end(), tail.begin(), tail.end());
      const auto error =
          test::error_of([&] { n_wrong += test::read_quantized_bytes(damaged) ? 0 : 1; });
      n_errors += error.has_value() ? 1 : 0;
    });
    CHECK(n_wrong == 0);
    CHECK(n_errors > 1000);
  }
}

}  // namespace lq
