#include "lib/jobs/plan_files.h"

#include <sys/stat.h>

#include "lib/base/error.h"

namespace lq {

std::vector<std::filesystem::path> share_files(const Plan& plan,
                                               const std::filesystem::path& output,
                                               const Share& share) {
  const auto names = plan.files(output);
  const auto [first, last] = plan.files_of(share);
  return {names.begin() + static_cast<std::ptrdiff_t>(first),
          names.begin() + static_cast<std::ptrdiff_t>(last)};
}

namespace {

/// Bytes of disk that a file has.
std::uint64_t allocated_bytes(const std::filesystem::path& path) {
  constexpr std::uint64_t kUnit = 512;  // of st_blocks
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * kUnit
                                            : 0;
}

void check_disk(const Plan& plan, const std::filesystem::path& output,
                const WriteOptions& options) {
  const auto free = disk_free_bytes(output);
  if (!free) return;
  const std::uint64_t needed = plan.file_bytes(options.share);
  std::uint64_t there = 0;
  if (options.resume)
    for (const auto& file : share_files(plan, output, options.share))
      there += allocated_bytes(partial_path(file));
  if (needed > *free && needed - *free > there)
    fail(ErrorKind::file, output.string(), ": needs ", needed, " bytes of disk space, ", *free,
         " are free");
}

}  // namespace

PlanFiles::PlanFiles(const Plan& plan, const std::filesystem::path& output,
                     const WriteOptions& options)
    : resume_(options.resume),
      names_(share_files(plan, output, options.share)),
      places_(plan.tensors.size()) {
  check_disk(plan, output, options);
  const auto [first, last] = plan.files_of(options.share);
  for (std::size_t file = first; file < last; ++file)
    writers_.push_back(std::make_unique<GgufWriter>(
        names_[file - first], plan.file_metadata(file), plan.outputs(file), options.existing,
        options.resume ? Leave::partial : Leave::nothing));
  std::vector<std::size_t> counts(plan.n_files());
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const std::size_t file = plan.tensors[i].file;
    places_[i] = {file < first || file >= last, file - first, counts[file]++};
  }
}

void PlanFiles::write(std::size_t index, std::uint64_t offset, std::span<const std::byte> bytes) {
  writers_[places_[index].writer]->write(places_[index].index, offset, bytes);
}

void PlanFiles::read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const {
  writers_[places_[index].writer]->read(places_[index].index, offset, into);
}

void PlanFiles::keep(std::size_t index, std::uint64_t n_bytes) {
  writers_[places_[index].writer]->keep(n_bytes);
}

void PlanFiles::name_all() {
  std::size_t named = 0;
  try {
    for (; named < writers_.size(); ++named) writers_[named]->finish();
  } catch (...) {
    // All or none. With a journal the next run goes on from here.
    std::error_code ignored;
    if (!resume_)
      for (std::size_t i = 0; i < named; ++i) std::filesystem::remove(names_[i], ignored);
    throw;
  }
}

}  // namespace lq
