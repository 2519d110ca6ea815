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

  /// The files have their names then, and the disk may still be writing.
  void run() {
    if (journal_) keep_finished();
    pass_.run("writing", [&](const CheckpointPiece& piece, PieceMemory& memory) {
      if (!plan_.modules[piece.module].linear)
        copy(piece, memory);
      else if (!work_[piece.module]->kept)
        encoder_.by_chunks() ? write_chunk(piece, memory) : make_rows(piece, memory);
    });
    for (const auto& file : files_) file->give_name();
  }

  const CheckpointDigests& digests() const { return digests_; }

  /// Waits for the disk.
  void commit() {
    for (const auto& file : files_) file->commit();
  }

 private:
  /// Takes over the matrices that an earlier run wrote, as far as they are what the journal says.
  void keep_finished() {
    for (const FinishedPiece& finished : journal_->finished()) {
      if (finished.piece >= work_.size() || !work_[finished.piece]) continue;
      const auto index = static_cast<std::size_t>(finished.piece);
      read_again(index);
      work_[index]->kept = digests_.of_module(index) == finished.digest;
    }
  }

  /// Digests of what is in the file.
  void read_again(std::size_t index) {
    const PlannedModule& module = plan_.modules[index];
    std::vector<std::byte> block;
    std::size_t number = 0;
    for (std::uint64_t first = 0; first < module.linear->rows; first += kLinearChunk, ++number) {
      const CheckpointPiece piece{index, number, first,
                                  std::min(module.linear->rows, first + kLinearChunk)};
      BlockDigest digest;
      for (std::size_t i = 0; i < module.parts.size(); ++i) {
        const LinearPart::Range range = range_of_piece(plan_, piece, i);
        block.resize(range.bytes);
        files_[module.file]->read(module.first_entry + i, range.begin, block);
        digest.add(block);
      }
      digests_.put(piece, digest.value());
    }
  }

  void copy(const CheckpointPiece& piece, PieceMemory& memory) {
    const PlannedModule& module = plan_.modules[piece.module];
    const std::span<const std::byte> bytes = pass_.bytes_of(piece, memory);
    BlockDigest digest;
    digest.add(bytes);
    digests_.put(piece, digest.value());
    files_[module.file]->write(module.first_entry, range_of_piece(plan_, piece, 0).begin, bytes);
  }

  void encode(const CheckpointPiece& piece, std::uint64_t origin, LinearBytes& parts,
              PieceMemory& memory) {
    const Linear& linear = *plan_.modules[piece.module].linear;
    pass_.for_each_slice(piece, encoder_.rows_together(linear), [&](const CheckpointPiece& slice) {
      encoder_.encode(linear, slice.first, pass_.values_of(slice, memory), origin, parts,
                      memory.encoder);
    });
  }

  /// The rows of a layout that stores rows one after the other.
  void write_chunk(const CheckpointPiece& piece, PieceMemory& memory) {
    const PlannedModule& module = plan_.modules[piece.module];
    memory.parts.resize(module.parts.size());
    for (std::size_t i = 0; i < module.parts.size(); ++i)
      memory.parts[i].resize(range_of_piece(plan_, piece, i).bytes);
    encode(piece, piece.first, memory.parts, memory);
    write_parts(piece, memory.parts);
    if (all_rows_done(piece)) add_to_journal(piece.module);
  }

  /// The rows of any other layout; with the last of them the matrix is written.
  void make_rows(const CheckpointPiece& piece, PieceMemory& memory) {
    const PlannedModule& module = plan_.modules[piece.module];
    ModuleWork& work = *work_[piece.module];
    std::call_once(work.begun, [&] { work.parts = encoder_.allocate(*module.linear); });
    encode(piece, 0, work.parts, memory);
    if (!all_rows_done(piece)) return;
    LinearBytes parts = std::move(work.parts);
    encoder_.finish(*module.linear, parts);
    write_parts({piece.module, 0, 0, module.linear->rows}, parts);
    add_to_journal(piece.module);
  }

  void write_parts(const CheckpointPiece& piece, const LinearBytes& parts) {
    const PlannedModule& module = plan_.modules[piece.module];
    BlockDigest digest;
    for (const auto& part : parts) digest.add(part);
    digests_.put(piece, digest.value());
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (!parts[i].empty())
        files_[module.file]->write(module.first_entry + i, range_of_piece(plan_, piece, i).begin,
                                   parts[i]);
  }

  /// Whether these were the last rows of their matrix.
  bool all_rows_done(const CheckpointPiece& piece) {
    const std::uint64_t n_rows = piece.last - piece.first;
    return work_[piece.module]->rows_left.fetch_sub(n_rows) == n_rows;
  }

  void add_to_journal(std::size_t module) {
    if (journal_) journal_->add({.piece = module, .digest = digests_.of_module(module)});
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
      pass_.run("measuring", [&](const CheckpointPiece& piece, PieceMemory& memory) {
        measure_largest(piece, memory);
      });
    else
      pass_.run("measuring", [&](const CheckpointPiece& piece, PieceMemory& memory) {
        measure_scales(piece, memory);
      });
    for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
      PlannedModule& module = plan_.modules[i];
      if (!module.linear) continue;
      module.linear->largest = largest_of(module, i);
      module.parts = encoder.parts(*module.linear);
    }
    plan_.fill_files();
  }

 private:
  void measure_largest(const CheckpointPiece& piece, PieceMemory& memory) {
    if (!plan_.modules[piece.module].linear) return;
    float largest = 0;
    pass_.for_each_slice(piece, 1, [&](const CheckpointPiece& slice) {
      const std::span<const float> values = pass_.values_of(slice, memory);
      largest = std::max(largest, kernels_.largest_magnitude(values.data(), values.size()));
    });
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

  void measure_scales(const CheckpointPiece& piece, PieceMemory& memory) {
    auto& linear = plan_.modules[piece.module].linear;
    if (!linear) return;
    constexpr std::size_t kScaled = 64;  // values of a block
    const std::span<const float> values = pass_.values_of(piece, memory);
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
  for (const fs::path& file : plan.source->copied) {
    std::error_code error;
    fs::copy_file(file, folder / file.filename(), fs::copy_options::overwrite_existing, error);
    if (error) fail(ErrorKind::file, file.string(), ": cannot copy: ", error.message());
  }
  if (plan.files.size() > 1)
    write_text(folder / "model.safetensors.index.json", index_text(plan), Existing::replace);
  write_text(folder / "config.json", plan.config, Existing::replace);
  for (const auto* files : {&plan.source->made_files, &plan.config_files})
    for (const ConfigFile& file : *files)
      write_text(folder / file.name, file.text, Existing::replace);
}

/// As many as the memory limit allows.
int affordable_threads(const CheckpointPlan& plan, const CheckpointWriting& how) {
  if (how.memory_limit == 0) return how.threads;
  for (int threads = how.threads; threads > 0; --threads)
    if (checkpoint_memory_bytes(plan, threads) <= how.memory_limit) return threads;
  fail(ErrorKind::resource, plan.source->name, ": needs ", checkpoint_memory_bytes(plan, 1),
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
  for (const PlannedModule& module : plan.modules)
    if (module.linear) settings += std::to_string(module.linear->largest_input) + "\n";
  auto journal = std::make_unique<Journal>(
      path, identity_of(settings, plan.source->source->files()), how.existing == Existing::replace);
  if (journal->continued())
    monitor.warning("going on where an earlier run stopped: " +
                    std::to_string(journal->finished().size()) + " matrices are done");
  return journal;
}

}  // namespace

void check_checkpoint_output(const CheckpointPlan& plan, const fs::path& output,
                             Existing existing) {
  std::error_code error;
  const fs::path folder = resolved(output);
  for (const fs::path& file : plan.source->source->files()) {
    const fs::path inside = resolved(fs::absolute(file).parent_path());
    if (inside == folder)
      fail(ErrorKind::usage, "output ", output.string(), " is the same folder as the input");
    if (std::mismatch(folder.begin(), folder.end(), inside.begin(), inside.end()).first ==
        folder.end())
      fail(ErrorKind::usage, "output ", output.string(), " holds the input ", file.string());
  }
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
  const LinearEncoder encoder(plan.scheme, choose_cpu_kernels());
  // A value as it is stored, as a float, as a code and read back; more of it for scales.
  std::uint64_t bytes_per_value = 4 + 4 + 2 + 2;
  for (const HfModel::Tensor& tensor : plan.source->tensors)
    if (!tensor.made.is_copy()) {
      bytes_per_value += 4 + 4;  // rows that are decoded, as they were and as they become
      break;
    }
  std::uint64_t working = 2 * kCopyBytes, largest = 0;
  std::vector<std::uint64_t> sizes;
  for (const PlannedModule& module : plan.modules) {
    if (!module.linear) continue;
    const Linear& linear = *module.linear;
    std::uint64_t made = 0, chunk = 0;
    for (const LinearPart& part : module.parts) {
      made += part.made_bytes;
      chunk += part.range_of(0, std::min(kLinearChunk, linear.rows), linear.rows).bytes;
    }
    const std::uint64_t rows =
        std::min(linear.rows, slice_rows(linear.cols, encoder.rows_together(linear)));
    working = std::max(working, rows * linear.cols * bytes_per_value);
    largest = std::max(largest, chunk);
    sizes.push_back(made);
  }
  std::uint64_t bytes = static_cast<std::uint64_t>(threads) * working;
  if (encoder.by_chunks()) return bytes + static_cast<std::uint64_t>(threads) * largest;
  std::sort(sizes.rbegin(), sizes.rend());
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
  CheckpointWriter writer(plan, folder.path(), threads, journal.get(), monitor);
  write_other_files(plan, folder.path());  // first: syncing them later would wait for all weights
  writer.run();
  verify_checkpoint(plan, folder.path(), writer.digests(), threads, monitor);
  writer.commit();
  monitor.check_stop();
  if (journal) journal->begin_naming();
  folder.give_name(how.existing);
  if (journal) journal->remove();
}

}  // namespace lq
