// Writes what a checkpoint plan says.
#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/io/descriptor.h"
#include "lib/io/text_file.h"
#include "lib/jobs/checkpoint.h"
#include "lib/jobs/checkpoint_pass.h"
#include "lib/jobs/checkpoint_verify.h"
#include "lib/jobs/linear_bitsandbytes.h"

namespace lq {
namespace {

namespace fs = std::filesystem;

/// The folder's own name at the end, whatever was typed ("out", "./out/").
fs::path resolved(const fs::path& folder) {
  const fs::path whole = fs::weakly_canonical(fs::absolute(folder));
  return whole.has_filename() ? whole : whole.parent_path();
}

/// A folder that is gone at the end of the scope unless it was given its name.
class NewFolder {
 public:
  /// What an earlier run that was killed left under the temporary name is removed.
  explicit NewFolder(const fs::path& output)
      : output_(output), path_(output.string() + ".lq-partial") {
    std::error_code error;
    fs::remove_all(path_, error);
    fs::create_directory(path_, error);
    if (error) fail(ErrorKind::file, path_.string(), ": cannot create: ", error.message());
  }
  ~NewFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const fs::path& path() const { return path_; }

  /// A folder of that name changes places with the new one and is then removed.
  void give_name(Existing existing) {
    std::error_code error;
    if (existing == Existing::replace && fs::exists(output_, error)) return exchange();
    fs::rename(path_, output_, error);
    if (error) fail(ErrorKind::file, output_.string(), ": cannot create: ", error.message());
    path_.clear();
  }

 private:
  void exchange() {
    if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, output_.c_str(), RENAME_EXCHANGE) == 0)
      return;  // the destructor removes what now has the temporary name
    if (errno != EINVAL && errno != ENOSYS) fail_errno(output_.string(), "replace");
    std::error_code error;  // a file system that cannot exchange
    fs::remove_all(output_, error);
    if (!error) fs::rename(path_, output_, error);
    if (error) fail(ErrorKind::file, output_.string(), ": cannot replace: ", error.message());
    path_.clear();
  }

  fs::path output_, path_;
};

/// A matrix while it is made: pieces of it come from several threads, the last one writes it.
struct ModuleWork {
  std::once_flag begun;
  LinearBytes parts;
  std::atomic<std::uint64_t> rows_left;
};

class CheckpointWriter {
 public:
  CheckpointWriter(const CheckpointPlan& plan, const fs::path& folder, int threads,
                   Monitor& monitor)
      : plan_(plan), pass_(plan, threads, monitor), work_(plan.modules.size()) {
    const auto names = plan.file_names();
    for (std::size_t i = 0; i < names.size(); ++i)
      files_.push_back(std::make_unique<SafetensorsWriter>(folder / names[i], plan.files[i]));
    for (std::size_t i = 0; i < plan.modules.size(); ++i) {
      const auto& linear = plan.modules[i].linear;
      if (!linear) continue;
      work_[i] = std::make_unique<ModuleWork>();
      work_[i]->rows_left = linear->rows;
    }
  }

  CheckpointDigests run() {
    CheckpointDigests digests(plan_);
    pass_.run("writing", [&](const CheckpointPiece& piece) {
      if (plan_.modules[piece.module].linear)
        write_rows(piece, digests);
      else
        copy(piece);
    });
    for (const auto& file : files_) file->commit();
    return digests;
  }

 private:
  void copy(const CheckpointPiece& piece) {
    const PlannedModule& module = plan_.modules[piece.module];
    files_[module.file]->write(module.first_entry, copied_offset(plan_, piece),
                               pass_.bytes_of(piece));
  }

  void write_rows(const CheckpointPiece& piece, CheckpointDigests& digests) {
    const PlannedModule& module = plan_.modules[piece.module];
    const Linear& linear = *module.linear;
    ModuleWork& work = *work_[piece.module];
    std::call_once(work.begun, [&] { work.parts = encoder_.allocate(linear); });
    std::vector<float> meant;
    encoder_.encode(linear, piece.first, pass_.values_of(piece), work.parts, &meant);
    if (encoder_.tells_values()) digests.put(piece, meant);
    if (work.rows_left.fetch_sub(piece.last - piece.first) != piece.last - piece.first) return;
    encoder_.finish(linear, work.parts);
    if (!encoder_.tells_values()) digests.put_decoded(plan_, piece.module, work.parts);
    for (std::size_t i = 0; i < work.parts.size(); ++i)
      files_[module.file]->write(module.first_entry + i, 0, work.parts[i]);
    work.parts = {};
  }

  const CheckpointPlan& plan_;
  CheckpointPass pass_;
  const LinearEncoder encoder_{plan_.scheme, choose_cpu_kernels()};
  std::vector<std::unique_ptr<SafetensorsWriter>> files_;
  std::vector<std::unique_ptr<ModuleWork>> work_;  ///< of each module; null for copied ones
};

/// Finds what the encoder has to know of whole matrices, and what follows from it.
class CheckpointMeasurer {
 public:
  CheckpointMeasurer(CheckpointPlan& plan, int threads, Monitor& monitor)
      : plan_(plan),
        pass_(plan, threads, monitor),
        largest_(plan.modules.size()),
        scales_(plan.modules.size()) {}

  void run() {
    const LinearEncoder encoder(plan_.scheme, choose_cpu_kernels());
    if (encoder.measures() == Measure::nothing) return;
    if (encoder.measures() == Measure::largest)
      pass_.run("measuring", [&](const CheckpointPiece& piece) { measure_largest(piece); });
    else
      pass_.run("measuring", [&](const CheckpointPiece& piece) { measure_scales(piece); });
    for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
      PlannedModule& module = plan_.modules[i];
      if (!module.linear) continue;
      module.linear->largest = largest_of(module, i);
      module.parts = encoder.parts(*module.linear);
    }
    plan_.fill_files();
  }

 private:
  void measure_largest(const CheckpointPiece& piece) {
    if (!plan_.modules[piece.module].linear) return;
    const std::vector<float> values = pass_.values_of(piece);
    const float largest = kernels_.largest_magnitude(values.data(), values.size());
    const std::lock_guard lock(pass_.mutex());
    largest_[piece.module] = std::max(largest_[piece.module], largest);
  }

  /// NVFP4 shares one factor among what engines fuse.
  float largest_of(const PlannedModule& module, std::size_t index) const {
    if (plan_.scheme.number != WeightNumber::nvfp4) return largest_[index];
    float largest = 0;
    for (const std::size_t other : module.fused) largest = std::max(largest, largest_[other]);
    return largest;
  }

  void measure_scales(const CheckpointPiece& piece) {
    auto& linear = plan_.modules[piece.module].linear;
    if (!linear) return;
    constexpr std::size_t kBlockValues = 64;
    const std::vector<float> values = pass_.values_of(piece);
    std::vector<float> scales(values.size() / kBlockValues);
    for (std::size_t i = 0; i < scales.size(); ++i)
      scales[i] = kernels_.largest_magnitude(values.data() + i * kBlockValues, kBlockValues);
    const std::lock_guard lock(pass_.mutex());
    Scales& all = scales_[piece.module];
    all.of.resize(static_cast<std::size_t>(linear->rows * linear->cols / kBlockValues));
    std::copy(
        scales.begin(), scales.end(),
        all.of.begin() + static_cast<std::ptrdiff_t>(piece.first * linear->cols / kBlockValues));
    all.rows += piece.last - piece.first;
    if (all.rows != linear->rows) return;
    linear->mean_scale = mean_scale(all.of);
    all.of = {};
  }

  struct Scales {
    std::vector<float> of;   ///< the blocks of a matrix
    std::uint64_t rows = 0;  ///< that were measured
  };

  CheckpointPlan& plan_;
  CheckpointPass pass_;
  const kernels::GroupKernels& kernels_ = choose_cpu_kernels().groups[0];
  std::vector<float> largest_;  ///< magnitude of each module
  std::vector<Scales> scales_;
};

std::string index_text(const CheckpointPlan& plan) {
  Json map = Json::object();
  const auto names = plan.file_names();
  for (std::size_t i = 0; i < names.size(); ++i)
    for (const SafetensorsEntry& entry : plan.files[i]) map[entry.name] = names[i];
  const Json index = {{"metadata", {{"total_size", plan.total_bytes()}}}, {"weight_map", map}};
  return index.dump(2) + "\n";
}

}  // namespace

void check_checkpoint_output(const CheckpointPlan& plan, const fs::path& output,
                             Existing existing) {
  std::error_code error;
  const fs::path folder = resolved(output), source = resolved(plan.source->directory());
  if (folder == source)
    fail(ErrorKind::usage, "output ", output.string(), " is the same folder as the input");
  const fs::path parent = folder.parent_path();
  if (!fs::is_directory(parent, error))
    fail(ErrorKind::file, output.string(), ": the folder ", parent.string(), " does not exist");
  if (!fs::exists(folder, error)) return;
  if (!fs::is_directory(folder, error))
    fail(ErrorKind::file, output.string(), ": is there and not a folder");
  if (existing == Existing::refuse)
    fail(ErrorKind::file, output.string(), ": exists; use --force to replace it");
  if (!fs::exists(folder / "config.json", error) && !fs::is_empty(folder, error))
    fail(ErrorKind::file, output.string(),
         ": is not replaced: it has no config.json, so it is not a model's folder");
}

void write_checkpoint(CheckpointPlan& plan, const fs::path& output, int threads, Existing existing,
                      Monitor& monitor) {
  check_checkpoint_output(plan, output, existing);
  NewFolder folder(resolved(output));
  CheckpointMeasurer(plan, threads, monitor).run();
  const CheckpointDigests digests = CheckpointWriter(plan, folder.path(), threads, monitor).run();
  for (const fs::path& file : plan.copied) {
    std::error_code error;
    fs::copy_file(file, folder.path() / file.filename(), error);
    if (error) fail(ErrorKind::file, file.string(), ": cannot copy: ", error.message());
  }
  if (plan.files.size() > 1)
    write_text(folder.path() / "model.safetensors.index.json", index_text(plan), Existing::refuse);
  write_text(folder.path() / "config.json", plan.config, Existing::refuse);
  for (const ConfigFile& file : plan.config_files)
    write_text(folder.path() / file.name, file.text, Existing::refuse);
  verify_checkpoint(plan, folder.path(), digests, threads, monitor);
  monitor.check_stop();
  folder.give_name(existing);
}

}  // namespace lq
