#pragma once
// Hugging Face folders that are written: quantized checkpoints for engines on GPUs, and models as
// they are; planned and checked before anything is written.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/monitor.h"
#include "lib/format/safetensors_writer.h"
#include "lib/io/atomic_file.h"
#include "lib/jobs/hf_model.h"
#include "lib/jobs/linear_encoder.h"
#include "lib/jobs/quantization_config.h"
#include "lib/jobs/weight_scheme.h"

namespace lq {

struct CheckpointOptions {
  WeightScheme scheme;
  std::vector<std::string> ignore = {};  ///< patterns (ECMAScript) of modules that stay as they are
  std::uint64_t max_shard_bytes = 5'000'000'000;
};

/// A tensor of the source and what it becomes.
struct PlannedModule {
  std::size_t source_index;
  std::optional<Linear> linear;  ///< absent: copied as it is
  std::string reason;            ///< why it is copied
  bool as_half = false;          ///< copied as F16, whatever it was
  std::size_t file = 0;          ///< number of the output file
  std::size_t first_entry = 0;   ///< of that file's entries; the parts follow one another
  std::vector<LinearPart> parts = {};
  std::vector<std::size_t> fused =
      {};  ///< modules whose largest magnitude counts, this one included
};

struct CheckpointPlan {
  const HfModel* source;
  WeightScheme scheme;
  std::vector<PlannedModule> modules;                ///< in source order
  std::vector<std::vector<SafetensorsEntry>> files;  ///< of each output file
  std::vector<std::string> ignored;                  ///< linear modules that are not quantized
  std::string config;                                ///< text of config.json
  std::vector<ConfigFile> config_files;              ///< further ones, beside the source's files
  std::uint64_t max_shard_bytes = 0;

  std::vector<std::string> file_names() const;
  std::uint64_t total_bytes() const;  ///< of all tensors
  double bits_per_weight() const;     ///< of the quantized matrices, scales included
  std::size_t n_quantized() const;

  /// Puts the tensors of all modules into files, from the parts that the modules have.
  void fill_files();
};

/// The source outlives the plan. Throws Error(unsupported) for a model that is quantized already or
/// a matrix that the scheme cannot hold, Error(usage) for a bad pattern or one that matches
/// nothing, Error(input) for a folder without a usable config.json.
CheckpointPlan make_checkpoint_plan(const HfModel& source, const CheckpointOptions& options);

/// The model as it is: every tensor is copied.
CheckpointPlan make_folder_plan(const HfModel& source, std::uint64_t max_shard_bytes);

/// A line a tensor, and the totals.
std::string checkpoint_text(const CheckpointPlan& plan);
/// lq.quantize.checkpoint/1 without its envelope.
OrderedJson checkpoint_json(const CheckpointPlan& plan, const std::filesystem::path& output);

/// Throws Error(file) when the folder `output` is there and may not be replaced (only a folder with
/// a config.json is), Error(usage) when the source is in it.
void check_checkpoint_output(const CheckpointPlan& plan, const std::filesystem::path& output,
                             Existing existing);

struct CheckpointWriting {
  int threads = 1;
  Existing existing = Existing::refuse;
  std::uint64_t memory_limit = 0;  ///< bytes; 0: none. Fewer threads work when it is small
  bool resume = false;             ///< keep what is done when stopped, and go on with what was kept
};

/// Writes beside the folder `output`, reads what was written back, and gives it its name when all
/// is complete and decodes to what was meant; without that nothing is left. The bytes do not depend
/// on the number of threads. Sizes that only the weights tell are put in the plan. Throws
/// Error(input) for values that are not finite, naming tensor and element, Error(check) when the
/// files read back differ, Error(resource) when the memory limit is too small for one thread.
void write_checkpoint(CheckpointPlan& plan, const std::filesystem::path& output,
                      const CheckpointWriting& how, Monitor& monitor);

/// Bytes of working memory that writing needs at most, mapped input not counted.
std::uint64_t checkpoint_memory_bytes(const CheckpointPlan& plan, int threads);

}  // namespace lq
