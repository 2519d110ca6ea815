#include "tools/quantize_target.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "lib/base/quote.h"
#include "lib/io/text_file.h"
#include "tools/cli/options.h"

namespace lq::tools {
namespace {

/// Bits per weight of the mixtures that a target without TYPE is named after.
struct NearType {
  const char* name;
  double bits_per_weight;
};
constexpr NearType kNearTypes[] = {{"Q2_K", 3.0},   {"Q3_K_M", 3.9}, {"Q4_K_M", 4.85},
                                   {"Q5_K_M", 5.7}, {"Q6_K", 6.6},   {"Q8_0", 8.5}};

double wanted_bits(const TargetArguments& target, const TensorSource& model) {
  if (target.bits_per_weight > 0) return target.bits_per_weight;
  double weights = 0;
  for (const TensorInfo& tensor : model.tensors())
    weights += static_cast<double>(tensor.elements());
  return weights > 0 ? static_cast<double>(target.bytes) * 8 / weights : 0;
}

}  // namespace

void declare_target(CLI::App& app, TargetArguments& arguments) {
  app.add_option("--target-size", arguments.bytes,
                 "choose the types of matrices so that the file has at most this size and loses "
                 "as little as possible; TYPE may be left out")
      ->type_name("SIZE")
      ->transform(cli::size());
  app.add_option("--target-bpw", arguments.bits_per_weight,
                 "the same for so many bits per weight of the matrices")
      ->type_name("BITS")
      ->check(cli::number(1, 32));
  app.add_option("--save-tensor-types", arguments.save,
                 "keep what was chosen, to be used again with TYPE and --tensor-type-file")
      ->type_name("FILE");
}

void settle_target_type(const TargetArguments& target, const TensorSource& model,
                        QuantizeArguments& arguments) {
  if (!arguments.type.empty()) return;
  const double bits = wanted_bits(target, model);
  const auto* near = std::min_element(
      std::begin(kNearTypes), std::end(kNearTypes), [bits](const NearType& a, const NearType& b) {
        return std::abs(a.bits_per_weight - bits) < std::abs(b.bits_per_weight - bits);
      });
  arguments.type = near->name;
}

void check_target(const TargetArguments& target, const QuantizeArguments& arguments,
                  const Recipe* recipe, Existing existing,
                  std::span<const std::filesystem::path> inputs) {
  if (!target.given()) {
    if (!target.save.empty())
      fail(ErrorKind::usage, "--save-tensor-types needs --target-size or --target-bpw");
    return;
  }
  if (target.bytes > 0 && target.bits_per_weight > 0)
    fail(ErrorKind::usage, "--target-size and --target-bpw contradict each other");
  if (arguments.pure)
    fail(ErrorKind::usage, "--pure and a target for the size contradict each other");
  if (!recipe || !recipe->quantizes())
    fail(ErrorKind::usage, "file type ", arguments.type,
         " leaves nothing to choose for a target; name one that quantizes, or none");
  if (!target.save.empty() && target.save != "-" && !arguments.dry_run)
    check_output(target.save, existing, inputs);
}

std::optional<SizeFit> fit_target(const TargetArguments& target, const QuantizeArguments& arguments,
                                  Plan& plan, const cli::Context& context) {
  if (!target.given()) return std::nullopt;
  const std::uint64_t bytes =
      target.bytes > 0 ? target.bytes : bytes_at(plan, target.bits_per_weight);
  SizeFit fit = fit_to_size(plan, bytes, context.threads, context.monitor);
  const double under =
      100 - 100 * static_cast<double>(plan.file_bytes()) / static_cast<double>(bytes);
  constexpr double kNearEnough = 0.5;
  if (under > kNearEnough) {
    std::ostringstream text;
    text.precision(2);
    text << "the file stays " << under << " % under the target: no types come nearer";
    context.monitor.warning(text.str());
  }
  if (!target.save.empty() && !arguments.dry_run) {
    write_text(target.save, type_lines(plan), context.force ? Existing::replace : Existing::refuse);
    context.monitor.note("the same types again: TYPE " + arguments.type + " --tensor-type-file " +
                         target.save);
  }
  return fit;
}

}  // namespace lq::tools
