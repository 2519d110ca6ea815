#include "lib/jobs/bench_kernels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/errors.h"

using namespace lq;
using namespace lq::test;
using lq::kernels::KernelTable;

namespace {

constexpr int kType = static_cast<int>(DType::Q8_0);

/// Right but for one code.
void encode_wrongly(const float* row, const float* importance, void* blocks,
                    std::size_t n) noexcept {
  traits(DType::Q8_0).encode(row, importance, blocks, n);
  static_cast<unsigned char*>(blocks)[40] ^= 1;
}
void decode_wrongly(const void* blocks, float* out, std::size_t n) noexcept {
  traits(DType::Q8_0).decode(blocks, out, n);
  out[n - 1] += 1e-3f;
}
void multiply_wrongly(const kernels::MatmulArgs& args) noexcept {
  kernels::kernel_table("generic")->matmul[kType](args);
  args.y[args.row_begin] += 1e-2f;
}

void multiply_panels_wrongly(const kernels::PanelMatmulArgs& args) noexcept {
  kernels::kernel_table("generic")->panels.few.multiply[kType](args);
  args.y[0] *= 1.000001f;
}
void multiply_long_matrices_wrongly(const kernels::PanelMatmulArgs& args) noexcept {
  kernels::kernel_table("generic")->panels.few.multiply[kType](args);
  if (args.rows > 64) args.y[0] *= 1.000001f;
}

std::string refusal(const KernelTable& table) {
  Monitor monitor;
  std::size_t timed = 0;
  const KernelTable* const tables[] = {&table};
  const std::string message = message_of(ErrorKind::failure, [&] {
    bench_kernels(
        tables, {.types = {DType::Q8_0}, .repetitions = 1, .shape = {}, .stream_bytes = 1 << 20},
        [&](const KernelCase& c) {
          CAPTURE(c.operation);
          ++timed;
        },
        monitor);
  });
  CHECK(
      (message.empty() ? timed == kernel_operations().size() : timed < kernel_operations().size()));
  return message;
}

/// From memory, checked against its samples.
void check_stream(const KernelCase& c, const OrderedJson& json) {
  CAPTURE(json.dump());
  CHECK(c.operation == "stream-1");
  REQUIRE(c.samples_ns.size() == 3);
  REQUIRE(c.read_samples_ns.size() == 3);
  std::vector<double> ratios;
  for (std::size_t i = 0; i < 3; ++i) {
    REQUIRE(c.samples_ns[i] > 0);
    REQUIRE(c.read_samples_ns[i] > 0);
    ratios.push_back(100.0 * static_cast<double>(c.panel_bytes) /
                     static_cast<double>(c.samples_ns[i]) *
                     static_cast<double>(c.read_samples_ns[i]) / static_cast<double>(c.read_bytes));
  }
  std::sort(ratios.begin(), ratios.end());
  CHECK(c.percent_of_peak() == doctest::Approx(ratios[1]));
  CHECK(c.percent_of_peak() > 0);
  CHECK(std::isfinite(c.percent_of_peak()));  // how much is not for a test to say
  CHECK(c.panel_bytes - c.read_bytes < c.panel_bytes / 1000);
  const auto panel_bytes = kernels::panel_traits(c.type).panel_bytes(c.cols);
  CHECK(c.panel_bytes % panel_bytes == 0);
  CHECK(c.weights % static_cast<std::uint64_t>(c.cols) == 0);
  CHECK(c.stored_bytes == traits(c.type).row_bytes(c.weights));
  CHECK(json["percent_of"] == "memory");
  CHECK(json["percent_of_peak"] == c.percent_of_peak());
  CHECK(json["peak_operations_per_second"] == 0);
  CHECK(json["rows"] == c.rows);
  CHECK(json["columns"] == c.cols);
  CHECK(json["memory_bytes"] == c.memory_bytes);
  CHECK(json["panel_bytes_per_second"].get<double>() == doctest::Approx(c.bytes_per_second()));
  CHECK(json["read_samples_ns"].size() == 3);
  CHECK(json["read_bytes_per_second"]["median"] == c.read_bytes_per_second().median);
}

KernelReport stream(std::vector<DType> types, std::optional<KernelShape> shape) {
  Monitor monitor;
  const KernelTable* const tables[] = {kernels::kernel_table("generic"), kernels::kernel_table("")};
  return bench_kernels(
      tables,
      {.types = std::move(types),
       .sets = {},
       .operations = {"stream-1"},
       .repetitions = 3,
       .shape = shape,
       .stream_bytes = 8 << 20},
      [](const KernelCase&) {}, monitor);
}

}  // namespace

TEST_CASE("products from memory are measured beside a plain loop over it") {
  const KernelReport report = stream({DType::Q4_K, DType::E4M3_32, DType::IQ3_S}, {});
  const OrderedJson json = to_json(report);
  CHECK(holds(json["percent_of"]["memory"].get<std::string>(), "the same 8 MiB, in turn"));
  CHECK(json["stream_bytes"] == 8 << 20);
  REQUIRE(report.cases.size() >= 2);  // a type without panels has none
  for (std::size_t i = 0; i < report.cases.size(); ++i) {
    const KernelCase& c = report.cases[i];
    check_stream(c, json["cases"][i]);
    // One matrix as long as the memory.
    CHECK(c.rows % 64 == 0);
    const std::size_t panel_bytes = kernels::panel_traits(c.type).panel_bytes(2048);
    const std::size_t matrix_bytes = static_cast<std::size_t>(c.rows / 16) * panel_bytes;
    CHECK(matrix_bytes >= 8 << 20);
    CHECK(matrix_bytes < 9 << 20);
    CHECK(c.memory_bytes <= matrix_bytes);
    CHECK(c.memory_bytes + 8 * panel_bytes > matrix_bytes);  // parts of whole panels
  }
}

TEST_CASE("products from memory with matrices of a shape") {
  // Rows that do not fill their last panel, of panels that are no whole lines apart, too.
  for (const KernelShape shape : {KernelShape{100, 768}, KernelShape{5, 256}}) {
    const KernelReport report = stream({DType::Q6_K, DType::F16}, shape);
    REQUIRE(report.cases.size() >= 2);
    for (std::size_t i = 0; i < report.cases.size(); ++i) {
      const KernelCase& c = report.cases[i];
      CHECK(c.rows == shape.rows);
      CHECK(c.cols == shape.cols);
      CHECK(c.panel_bytes > 0);
      CHECK(c.read_samples_ns.size() == 3);
    }
  }
  CHECK(holds(message_of(ErrorKind::usage,
                         [] {
                           stream({DType::Q4_K}, KernelShape{64, 100});
                         }),
              "shape 64x100: rows of Q4_K are whole blocks of 256 values"));
}

TEST_CASE("shapes of matrices") {
  const auto shape = parse_shape("4096x14336");
  REQUIRE(shape);
  CHECK(shape->rows == 4096);
  CHECK(shape->cols == 14336);
  CHECK(parse_shape("1x1"));
  for (const char* text : {"", "x", "64", "64x", "x64", "64X32", "0x64", "64x0", "-1x64", "64x64x",
                           "64x64 ", "99999999999x1", "65536x65536", "8193x8192"})
    CHECK_MESSAGE(!parse_shape(text), text);
}

TEST_CASE("a kernel that disagrees with the type's definition is not timed") {
  KernelTable table = *kernels::kernel_table("generic");
  CHECK(refusal(table).empty());
  table.encode[kType] = encode_wrongly;
  CHECK(holds(refusal(table), "kernel encode of Q8_0 in the set generic disagrees"));
  table = *kernels::kernel_table("");
  table.decode[kType] = decode_wrongly;
  CHECK(holds(refusal(table), "kernel decode of Q8_0"));
  table = *kernels::kernel_table("");
  table.matmul[kType] = multiply_wrongly;
  CHECK(holds(refusal(table), "kernel matmul of Q8_0"));
  table = *kernels::kernel_table("generic");
  table.panels.few.multiply[kType] = multiply_panels_wrongly;
  CHECK(holds(refusal(table), "kernel panels-1 of Q8_0"));
  table = *kernels::kernel_table("generic");
  table.panels.few.multiply[kType] = multiply_long_matrices_wrongly;
  CHECK(holds(refusal(table), "kernel stream-1 of Q8_0"));
}
