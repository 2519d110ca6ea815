#include "lib/jobs/bench_kernels.h"

#include <doctest/doctest.h>

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

std::string refusal(const KernelTable& table) {
  Monitor monitor;
  std::size_t timed = 0;
  const KernelTable* const tables[] = {&table};
  const std::string message = message_of(ErrorKind::failure, [&] {
    bench_kernels(
        tables, {.types = {DType::Q8_0}, .repetitions = 1},
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

}  // namespace

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
}
