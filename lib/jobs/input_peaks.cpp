#include "lib/jobs/input_peaks.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "lib/backend/backend.h"
#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/convert.h"
#include "lib/jobs/plan_source.h"

namespace lq {
namespace {

class PeakObserver : public MatmulObserver {
 public:
  PeakObserver(const Weights& weights, Backend& backend) : weights_(weights), backend_(backend) {}

  void on_matmul(const WeightView& weight, View input, std::span<const std::int32_t>) override {
    const std::size_t n =
        static_cast<std::size_t>(input.rows) * static_cast<std::size_t>(input.cols);
    const float* values = input.data;
    if (!backend_.reads_host_memory()) {
      host_.resize(n);
      backend_.copy_out(reinterpret_cast<const std::byte*>(input.data),
                        std::as_writable_bytes(std::span(host_)));
      backend_.synchronize();
      values = host_.data();
    }
    const float largest = choose_cpu_kernels().groups[0].largest_magnitude(values, n);
    const std::string name(weights_.name_of(weight));
    if (!std::isfinite(largest))
      fail(ErrorKind::input, "tensor ", quote(name),
           ": is multiplied with a number that is not finite; is the model damaged");
    float& peak = peaks_[name];
    peak = std::max(peak, largest);
  }

  /// By the names of GGUF.
  const std::map<std::string, float>& peaks() const { return peaks_; }

 private:
  const Weights& weights_;
  Backend& backend_;
  std::map<std::string, float> peaks_;
  std::vector<float> host_;
};

/// The names in the folder of what the running model has under GGUF's.
std::map<std::string, std::string> folder_names(const HfModel& source, Monitor& monitor) {
  std::map<std::string, std::string> names;
  std::error_code ignored;
  if (std::filesystem::is_directory(source.name, ignored)) {
    const Conversion conversion =
        plan_conversion({.input = source.name, .keep_types = true}, monitor);
    for (const PlannedTensor& tensor : conversion.plan.tensors)
      if (tensor.source)
        names[tensor.output.name] = tensor.source->tensors()[tensor.source_index].name;
    return names;
  }
  for (const HfModel::Tensor& tensor : source.tensors)
    if (tensor.made.source)
      names[tensor.made.source->tensors()[tensor.made.source_index].name] = tensor.made.output.name;
  return names;
}

}  // namespace

InputPeaks measure_inputs(const HfModel& source, CalibrateOptions options, Monitor& monitor) {
  const std::map<std::string, std::string> names = folder_names(source, monitor);
  const auto backend = make_cpu_backend(options.threads);
  // What is measured are activations: they come from exact products.
  const Model model(open_runnable(source.name, options.threads, monitor), *backend,
                    {.repack = false});
  PeakObserver observer(model.weights(), *backend);
  options.observer = &observer;
  calibrate(model, options, monitor);
  InputPeaks peaks;
  for (const auto& [name, peak] : observer.peaks())
    if (const auto found = names.find(name); found != names.end()) peaks[found->second] = peak;
  return peaks;
}

void set_input_peaks(CheckpointPlan& plan, const InputPeaks& peaks) {
  for (PlannedModule& module : plan.modules) {
    if (!module.linear) continue;
    float largest = 0;
    for (const std::size_t other : module.fused)
      if (const auto found = peaks.find(plan.modules[other].linear->module + ".weight");
          found != peaks.end())
        largest = std::max(largest, found->second);
    if (largest == 0)
      fail(ErrorKind::unsupported, module.linear->module,
           ": the text of --calibrate reaches it with zeros only or not at all; give another text, "
           "or leave it as it is with --ignore");
    module.linear->largest_input = largest;
  }
}

}  // namespace lq
