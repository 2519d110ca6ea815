#pragma once
// The largest magnitudes of what a model's matrices are multiplied with, for scales of activations
// that a checkpoint holds.
#include <map>
#include <string>

#include "lib/base/monitor.h"
#include "lib/jobs/calibrate.h"
#include "lib/jobs/checkpoint.h"
#include "lib/jobs/hf_model.h"

namespace lq {

/// By the matrix's name in the folder: "model.layers.0.mlp.up_proj.weight".
using InputPeaks = std::map<std::string, float>;

/// Lets the model, of a folder or a GGUF file, read a text with the weights that are stored, as
/// calibrate() does. Throws Error as that, and Error(unsupported) for models that cannot be run.
InputPeaks measure_inputs(const HfModel& source, CalibrateOptions options, Monitor& monitor);

/// Tells the plan's matrices; those that engines run as one share the largest. Throws
/// Error(unsupported) for one that was not multiplied with anything but zeros.
void set_input_peaks(CheckpointPlan& plan, const InputPeaks& peaks);

}  // namespace lq
