#include "kernels/cpu/kernel_table.h"

#include "kernels/cpu/asked_features.h"

namespace lq::kernels {

#define LQ_ISA(name, table, flags, condition) extern const KernelTable table;
#include "kernels/cpu/isas.def"
#undef LQ_ISA

namespace {

constexpr int kSetCount = 0
#define LQ_ISA(name, table, flags, condition) +1
#include "kernels/cpu/isas.def"
#undef LQ_ISA
    ;

/// The sets of this machine; asked once, when the first caller comes.
struct Sets {
  KernelSet rows[kSetCount];
  KernelTable filled[kSetCount];  ///< without null entries; meaningful for supported rows
};

template <class Slot>
void fill(Slot& slot, Slot below) {
  if (!slot) slot = below;
}

void fill_panels(PanelKernels& panels, const PanelKernels& below) {
  for (PanelProducts PanelKernels::*const way :
       {&PanelKernels::few, &PanelKernels::requantized, &PanelKernels::tiles})
    if ((panels.*way).widest_tile == 0) panels.*way = below.*way;
  for (int i = 0; i < kDTypeCount; ++i) fill(panels.encode[i], below.encode[i]);
}

KernelTable filled_from(KernelTable table, const KernelTable& below) {
  for (int i = 0; i < kDTypeCount; ++i) {
    fill(table.matmul[i], below.matmul[i]);
    fill(table.encode[i], below.encode[i]);
    fill(table.decode[i], below.decode[i]);
    fill(table.attention[i], below.attention[i]);
  }
  for (int i = 0; i < kPrecisionCount; ++i)
    if (!table.groups[i].integers) table.groups[i] = below.groups[i];
  fill_panels(table.panels, below.panels);
  if (table.byte_attention.positions == 0) table.byte_attention = below.byte_attention;
  for (PeakLoop KernelTable::*const peak :
       {&KernelTable::code_peak, &KernelTable::float_peak, &KernelTable::pair_peak})
    if (!(table.*peak).run) table.*peak = below.*peak;
  fill(table.all_finite, below.all_finite);
  fill(table.rms_norm, below.rms_norm);
  fill(table.silu_multiply, below.silu_multiply);
  fill(table.add, below.add);
  fill(table.to_half, below.to_half);
  return table;
}

Sets make_sets() {
  __builtin_cpu_init();
// The compiler's check includes that the operating system saves the registers.
#define LQ_CPU_HAS(feature) (__builtin_cpu_supports(feature) != 0)
#define LQ_CPU_ASK(feature, has) has()
#define LQ_ISA(name, table, flags, condition) {&table, condition, #condition},
  Sets sets{{
#include "kernels/cpu/isas.def"
            },
            {}};
#undef LQ_ISA
#undef LQ_CPU_ASK
#undef LQ_CPU_HAS
  KernelTable plainest{.name = ""};
  for (int i = 0; i < kDTypeCount; ++i) {
    const DTypeTraits& type = traits(static_cast<DType>(i));
    plainest.encode[i] = type.encode;
    plainest.decode[i] = type.decode;
  }
  const KernelTable* below = &plainest;
  for (int i = 0; i < kSetCount; ++i) {
    sets.filled[i] = filled_from(*sets.rows[i].table, *below);
    if (sets.rows[i].supported) below = &sets.filled[i];
  }
  return sets;
}

const Sets& sets() {
  static const Sets kSets = make_sets();
  return kSets;
}

}  // namespace

std::span<const KernelSet> kernel_sets() noexcept { return sets().rows; }

const KernelTable* kernel_table(std::string_view name) noexcept {
  const Sets& all = sets();
  for (int i = kSetCount; i-- > 0;) {
    const bool wanted = name.empty() || name == all.rows[i].table->name;
    if (wanted && all.rows[i].supported) return &all.filled[i];
  }
  return nullptr;
}

}  // namespace lq::kernels
