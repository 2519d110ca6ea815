// Writes what a checkpoint plan says.
#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "lib/base/quote.h"
#include "lib/io/descriptor.h"
#include "lib/io/text_file.h"
#include "lib/jobs/checkpoint.h"

namespace lq {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kCopyBytes = 1 << 20;

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

/// Rows [first, last) of a quantized module, or bytes of a copied one.
struct CheckpointPiece {
  std::size_t module;
  std::uint64_t first, last;
};

class CheckpointWriter {
 public:
  CheckpointWriter(const CheckpointPlan& plan, const fs::path& folder, int threads,
                   Monitor& monitor)
      : plan_(plan),
        threads_(threads),
        monitor_(monitor),
        encoder_(plan.scheme, kernels_),
        largest_(plan.modules.size()) {
    const auto names = plan.file_names();
    for (std::size_t i = 0; i < names.size(); ++i)
      files_.push_back(std::make_unique<SafetensorsWriter>(folder / names[i], plan.files[i]));
  }

  void run() {
    const std::vector<CheckpointPiece> pieces = cut();
    std::uint64_t total = 0;
    for (const auto& module : plan_.modules) total += source_bytes(module);
    if (encoder_.needs_largest()) {
      monitor_.begin("measuring", total, Unit::bytes);
      each(pieces, [this](const CheckpointPiece& piece) { measure(piece); });
      monitor_.end();
    }
    monitor_.begin("writing", total, Unit::bytes);
    each(pieces, [this](const CheckpointPiece& piece) { write(piece); });
    for (const auto& file : files_) file->commit();
    monitor_.end();
  }

 private:
  std::uint64_t source_bytes(const PlannedModule& module) const {
    return plan_.source->raw_data(module.source_index).size();
  }

  std::vector<CheckpointPiece> cut() const {
    std::vector<CheckpointPiece> pieces;
    for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
      const PlannedModule& module = plan_.modules[i];
      const std::uint64_t end = module.linear ? module.linear->rows : source_bytes(module);
      const std::uint64_t step = module.linear ? kLinearChunk : kCopyBytes;
      for (std::uint64_t at = 0; at < end; at += step)
        pieces.push_back({i, at, std::min(end, at + step)});
    }
    return pieces;
  }

  template <class Work>
  void each(const std::vector<CheckpointPiece>& pieces, const Work& work) {
    parallel_for(static_cast<std::ptrdiff_t>(pieces.size()), threads_, [&](std::ptrdiff_t i) {
      const CheckpointPiece& piece = pieces[static_cast<std::size_t>(i)];
      {
        const std::lock_guard lock(mutex_);
        monitor_.check_stop();
      }
      work(piece);
      const PlannedModule& module = plan_.modules[piece.module];
      const std::uint64_t of = module.linear ? module.linear->rows : source_bytes(module);
      const std::lock_guard lock(mutex_);
      monitor_.advance(source_bytes(module) / of * (piece.last - piece.first));
    });
  }

  /// The rows of a piece as binary32, which are finite.
  std::vector<float> values_of(const CheckpointPiece& piece) const {
    const PlannedModule& module = plan_.modules[piece.module];
    const Linear& linear = *module.linear;
    const DTypeTraits& type = traits(linear.type);
    const std::uint64_t row_bytes = linear.cols * type.bytes;
    std::vector<std::byte> stored((piece.last - piece.first) * row_bytes);
    plan_.source->read(
        module.source_index,
        plan_.source->raw_data(module.source_index).subspan(piece.first * row_bytes, stored.size()),
        stored);
    std::vector<float> values((piece.last - piece.first) * linear.cols);
    kernels_.decode[index_of(linear.type)](stored.data(), values.data(), values.size());
    if (kernels_.all_finite(values.data(), values.size())) return values;
    const auto bad =
        std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    fail(ErrorKind::input, plan_.source->file_of(module.source_index).string(), ": tensor ",
         quote(plan_.source->tensors()[module.source_index].name), ": element ",
         piece.first * linear.cols + static_cast<std::uint64_t>(bad - values.begin()), " is ", *bad,
         "; weights have to be finite");
  }

  void measure(const CheckpointPiece& piece) {
    if (!plan_.modules[piece.module].linear) return;
    const std::vector<float> values = values_of(piece);
    const float largest = kernels_.groups[0].largest_magnitude(values.data(), values.size());
    const std::lock_guard lock(mutex_);
    largest_[piece.module] = std::max(largest_[piece.module], largest);
  }

  /// NVFP4 shares one factor among what engines fuse.
  float largest_for(const PlannedModule& module, std::size_t index) const {
    if (plan_.scheme.number != WeightNumber::nvfp4) return largest_[index];
    float largest = 0;
    for (const std::size_t other : module.fused) largest = std::max(largest, largest_[other]);
    return largest;
  }

  void write(const CheckpointPiece& piece) {
    const PlannedModule& module = plan_.modules[piece.module];
    SafetensorsWriter& file = *files_[module.file];
    if (!module.linear) {
      std::vector<std::byte> bytes(piece.last - piece.first);
      plan_.source->read(
          module.source_index,
          plan_.source->raw_data(module.source_index).subspan(piece.first, bytes.size()), bytes);
      return file.write(module.first_entry, piece.first, bytes);
    }
    const std::vector<float> values = values_of(piece);
    std::vector<std::vector<std::byte>> made;
    std::vector<std::byte*> out;
    for (const LinearPart& part : module.parts) {
      const auto extent = part.extent(piece.first, piece.last, module.linear->rows);
      made.emplace_back(extent.end - extent.begin);
      out.push_back(made.back().data());
    }
    encoder_.encode(*module.linear, piece.first, values, largest_for(module, piece.module), out);
    for (std::size_t i = 0; i < made.size(); ++i) {
      const auto extent = module.parts[i].extent(piece.first, piece.last, module.linear->rows);
      if (!made[i].empty()) file.write(module.first_entry + i, extent.begin, made[i]);
    }
  }

  const CheckpointPlan& plan_;
  const int threads_;
  Monitor& monitor_;
  const kernels::KernelTable& kernels_ = choose_cpu_kernels();
  const LinearEncoder encoder_;
  std::vector<std::unique_ptr<SafetensorsWriter>> files_;
  std::vector<float> largest_;  ///< magnitude of each module
  std::mutex mutex_;
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

void write_checkpoint(const CheckpointPlan& plan, const fs::path& output, int threads,
                      Existing existing, Monitor& monitor) {
  check_checkpoint_output(plan, output, existing);
  NewFolder folder(resolved(output));
  CheckpointWriter(plan, folder.path(), threads, monitor).run();
  for (const fs::path& file : plan.copied) {
    std::error_code error;
    fs::copy_file(file, folder.path() / file.filename(), error);
    if (error) fail(ErrorKind::file, file.string(), ": cannot copy: ", error.message());
  }
  if (plan.files.size() > 1)
    write_text(folder.path() / "model.safetensors.index.json", index_text(plan), Existing::refuse);
  write_text(folder.path() / "config.json", plan.config, Existing::refuse);
  monitor.check_stop();
  folder.give_name(existing);
}

}  // namespace lq
