#pragma once
// The files that a plan is written to.
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "lib/format/gguf_writer.h"
#include "lib/jobs/plan.h"

namespace lq {

/// Those of one share. None has its name before name_all().
class PlanFiles {
 public:
  /// Throws Error(file), also when there is not enough space for all of them.
  PlanFiles(const Plan& plan, const std::filesystem::path& output, const WriteOptions& options);

  /// Whether tensor `index` of the plan is written here.
  bool has(std::size_t index) const { return !places_[index].absent; }
  /// As those of GgufWriter, by the plan's number of the tensor.
  void write(std::size_t index, std::uint64_t offset, std::span<const std::byte> bytes);
  void read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const;
  void keep(std::size_t index, std::uint64_t n_bytes);
  void name_all();

 private:
  struct Place {
    bool absent = true;
    std::size_t writer = 0, index = 0;
  };

  bool resume_;
  std::vector<std::filesystem::path> names_;  ///< of each writer's file
  std::vector<std::unique_ptr<GgufWriter>> writers_;
  std::vector<Place> places_;  ///< of each tensor of the plan
};

/// What the files of a share will be called.
std::vector<std::filesystem::path> share_files(const Plan& plan,
                                               const std::filesystem::path& output,
                                               const Share& share);

}  // namespace lq
