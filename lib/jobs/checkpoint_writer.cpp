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
#include "lib/jobs/journal.h"
#include "lib/jobs/linear_bitsandbytes.h"

namespace lq {
namespace {

namespace fs = std::filesystem;

/// The folder's own name at the end, whatever was typed ("out", "./out/").
fs::path resolved(const fs::path& folder) {
  const fs::path whole = fs::weakly_canonical(fs::absolute(folder));
  return whole.has_filename() ? whole : whole.parent_path();
}

fs::path partial_folder(const fs::path& output) { return output.string() + ".lq-partial"; }

/// A folder that is gone at the end of the scope unless it was given its name, or is to be kept for
/// the next run.
class NewFolder {
 public:
  /// What an earlier run left under the temporary name is removed unless it is to be `continued`.
  NewFolder(const fs::path& output, Leave leave, bool continued)
      : output_(output), path_(partial_folder(output)), leave_(leave) {
    std::error_code error;
    if (!continued) fs::remove_all(path_, error);
    fs::create_directory(path_, error);
    if (error) fail(ErrorKind::file, path_.string(), ": cannot create: ", error.message());
  }
  ~NewFolder() {
    std::error_code ignored;
    if (!path_.empty() && leave_ == Leave::nothing) fs::remove_all(path_, ignored);
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
    if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, output_.c_str(), RENAME_EXCHANGE) == 0) {
      leave_ = Leave::nothing;  // the destructor removes what now has the temporary name
      return;
    }
    if (errno != EINVAL && errno != ENOSYS) fail_errno(output_.string(), "replace");
    std::error_code error;  // a file system that cannot exchange
    fs::remove_all(output_, error);
    if (!error) fs::rename(path_, output_, error);
    if (error) fail(ErrorKind::file, output_.string(), ": cannot replace: ", error.message());
    path_.clear();
  }

  fs::path output_, path_;
  Leave leave_;
};

/// A matrix while it is made: pieces of it come from several threads, the last one writes it.
struct ModuleWork {
  std::once_flag begun;
  LinearBytes parts;
  std::atomic<std::uint64_t> rows_left;
  bool kept = false;  ///< an earlier run wrote it
};

class CheckpointWriter {
 public:
  /// `journal` may be null.
  CheckpointWriter(const CheckpointPlan& plan, const fs::path& folder, int threads,
                   Journal* journal, Monitor& monitor)
      : plan_(plan),
        pass_(plan, threads, monitor),
        journal_(journal),
        digests_(plan),
        work_(plan.modules.size()) {
    const auto names = plan.file_names();
    for (std::size_t i = 0; i < names.size(); ++i) {
      std::error_code none;  // that a run which was stopped had named already
      if (journal) fs::rename(folder / names[i], partial_path(folder / names[i]), none);
      files_.push_back(std::make_unique<SafetensorsWriter>(
          folder / names[i], plan.files[i], journal ? Leave::partial : Leave::nothing));
    }
    for (std::size_t i = 0; i < plan.modules.size(); ++i) {
      const auto& linear = plan.modules[i].linear;
      if (!linear) continue;
      work_[i] = std::make_unique<ModuleWork>();
      work_[i]->rows_left = linear->rows;
    }
  }

  CheckpointDigests run() {
    if (journal_) keep_finished();
    pass_.run("writing", [&](const CheckpointPiece& piece) {
      if (!plan_.modules[piece.module].linear)
        copy(piece);
      else if (!work_[piece.module]->kept)
        write_rows(piece);
    });
    for (const auto& file : files_) file->commit();
    return std::move(digests_);
  }

 private:
  /// Takes over the matrices that an earlier run wrote, as far as they are what the journal says.
  void keep_finished() {
    for (const FinishedPiece& finished : journal_->finished()) {
      if (finished.piece >= work_.size() || !work_[finished.piece]) continue;
      const auto index = static_cast<std::size_t>(finished.piece);
      const PlannedModule& module = plan_.modules[index];
      LinearBytes parts;
      for (std::size_t i = 0; i < module.parts.size(); ++i) {
        parts.emplace_back(module.parts[i].bytes);
        files_[module.file]->read(module.first_entry + i, parts.back());
      }
      const std::vector<std::span<const std::byte>> bytes(parts.begin(), parts.end());
      if (digest_of_parts(bytes) != finished.digest) continue;
      digests_.put_module(index, bytes);
      work_[index]->kept = true;
    }
  }

  void copy(const CheckpointPiece& piece) {
    const PlannedModule& module = plan_.modules[piece.module];
    files_[module.file]->write(module.first_entry, copied_offset(plan_, piece),
                               pass_.bytes_of(piece));
  }

  void write_rows(const CheckpointPiece& piece) {
    const Linear& linear = *plan_.modules[piece.module].linear;
    ModuleWork& work = *work_[piece.module];
    std::call_once(work.begun, [&] { work.parts = encoder_.allocate(linear); });
    digests_.put(piece, encoder_.encode(linear, piece.first, pass_.values_of(piece), work.parts));
    const std::uint64_t n_rows = piece.last - piece.first;
    if (work.rows_left.fetch_sub(n_rows) == n_rows) finish(piece.module);
  }

  /// All rows of a module are there.
  void finish(std::size_t index) {
    const PlannedModule& module = plan_.modules[index];
    LinearBytes parts = std::move(work_[index]->parts);
    encoder_.finish(*module.linear, parts);
    const std::vector<std::span<const std::byte>> bytes(parts.begin(), parts.end());
    const std::uint64_t digest = digest_of_parts(bytes);
    if (plan_.scheme.number != WeightNumber::integer) digests_.put({index, 0, 0}, digest);
    for (std::size_t i = 0; i < parts.size(); ++i)
      files_[module.file]->write(module.first_entry + i, 0, parts[i]);
    if (journal_) journal_->add({.piece = index, .digest = digest});
  }

  const CheckpointPlan& plan_;
  CheckpointPass pass_;
  Journal* const journal_;
  CheckpointDigests digests_;
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
    constexpr std::size_t kScaled = 64;  // values of a block
    const std::vector<float> values = pass_.values_of(piece);
    std::vector<float> scales(values.size() / kScaled);
    for (std::size_t i = 0; i < scales.size(); ++i)
      scales[i] = kernels_.largest_magnitude(values.data() + i * kScaled, kScaled);
    const std::lock_guard lock(pass_.mutex());
    Scales& all = scales_[piece.module];
    all.of.resize(static_cast<std::size_t>(linear->rows * linear->cols / kScaled));
    std::copy(scales.begin(), scales.end(),
              all.of.begin() + static_cast<std::ptrdiff_t>(piece.first * linear->cols / kScaled));
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

/// Everything but the weights.
void write_other_files(const CheckpointPlan& plan, const fs::path& folder) {
  for (const fs::path& file : plan.copied) {
    std::error_code error;
    fs::copy_file(file, folder / file.filename(), fs::copy_options::overwrite_existing, error);
    if (error) fail(ErrorKind::file, file.string(), ": cannot copy: ", error.message());
  }
  if (plan.files.size() > 1)
    write_text(folder / "model.safetensors.index.json", index_text(plan), Existing::replace);
  write_text(folder / "config.json", plan.config, Existing::replace);
  for (const ConfigFile& file : plan.config_files)
    write_text(folder / file.name, file.text, Existing::replace);
}

/// As many as the memory limit allows.
int affordable_threads(const CheckpointPlan& plan, const CheckpointWriting& how) {
  if (how.memory_limit == 0) return how.threads;
  for (int threads = how.threads; threads > 0; --threads)
    if (checkpoint_memory_bytes(plan, threads) <= how.memory_limit) return threads;
  fail(ErrorKind::resource, plan.source->name(), ": needs ", checkpoint_memory_bytes(plan, 1),
       " bytes of memory with one thread; the limit is ", how.memory_limit);
}

/// The journal of the work. Without an earlier run's, the output is checked.
std::unique_ptr<Journal> open_checkpoint_journal(const CheckpointPlan& plan, const fs::path& output,
                                                 const CheckpointWriting& how, Monitor& monitor) {
  const fs::path path = journal_path(resolved(output));
  std::error_code ignored;
  if (!fs::exists(path, ignored)) check_checkpoint_output(plan, output, how.existing);
  std::string settings = plan.config + plan.scheme.name + "\n" + plan.scheme.method + "\n";
  for (std::size_t i = 0; i < plan.files.size(); ++i)
    for (const SafetensorsEntry& entry : plan.files[i])
      settings += std::to_string(i) + " " + entry.name + " " + entry.storage + "\n";
  auto journal = std::make_unique<Journal>(path, identity_of(settings, plan.source->files()),
                                           how.existing == Existing::replace);
  if (journal->continued())
    monitor.warning("going on where an earlier run stopped: " +
                    std::to_string(journal->finished().size()) + " matrices are done");
  return journal;
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

std::uint64_t checkpoint_memory_bytes(const CheckpointPlan& plan, int threads) {
  // A thread's rows as they are stored, as values and as codes; more of it for scales.
  constexpr std::uint64_t kBytesPerValue = 4 + 4 + 1 + 3;
  std::uint64_t widest = 0;
  std::vector<std::uint64_t> sizes;
  for (const PlannedModule& module : plan.modules) {
    if (!module.linear) continue;
    widest = std::max(widest, module.linear->cols);
    sizes.push_back(0);
    for (const LinearPart& part : module.parts) sizes.back() += part.made_bytes;
  }
  std::sort(sizes.rbegin(), sizes.rend());
  std::uint64_t bytes =
      static_cast<std::uint64_t>(threads) * kLinearChunk * widest * kBytesPerValue;
  for (std::size_t i = 0; i < sizes.size() && i < static_cast<std::size_t>(threads); ++i)
    bytes += sizes[i];  // threads work on the rows of as many matrices at most
  return bytes;
}

void write_checkpoint(CheckpointPlan& plan, const fs::path& output, const CheckpointWriting& how,
                      Monitor& monitor) {
  const int threads = affordable_threads(plan, how);
  const fs::path named = resolved(output);
  std::unique_ptr<Journal> journal;
  if (how.resume) journal = open_checkpoint_journal(plan, output, how, monitor);
  if (!journal) check_checkpoint_output(plan, output, how.existing);
  if (journal && journal->naming() && fs::exists(named) && !fs::exists(partial_folder(named)))
    return journal->remove();  // the earlier run was stopped when all was done
  NewFolder folder(named, journal ? Leave::partial : Leave::nothing,
                   journal && journal->continued());
  CheckpointMeasurer(plan, threads, monitor).run();
  const CheckpointDigests digests =
      CheckpointWriter(plan, folder.path(), threads, journal.get(), monitor).run();
  write_other_files(plan, folder.path());
  verify_checkpoint(plan, folder.path(), digests, threads, monitor);
  monitor.check_stop();
  if (journal) journal->begin_naming();
  folder.give_name(how.existing);
  if (journal) journal->remove();
}

}  // namespace lq
