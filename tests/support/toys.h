#pragma once
// Checkpoints of the test data, and conversions of changed copies of them.
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "lib/base/json.h"
#include "lib/jobs/convert.h"
#include "tests/support/temp_dir.h"

namespace lq::test {

/// testdata/models/toys/NAME, or testdata/models/NAME.
std::filesystem::path checkpoint(const std::string& name);

/// A copy of a checkpoint that may be changed.
class CheckpointCopy {
 public:
  /// Of the test data, or of the folder with this absolute path.
  explicit CheckpointCopy(const std::string& name);
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const char* file) const { return path_ / file; }
  /// Rewrites a JSON file.
  void change(const char* file, const std::function<void(Json&)>& edit) const;
  /// Rewrites the header of model.safetensors; tensor data stays as it is.
  void change_tensors(const std::function<void(Json&)>& edit) const;
  /// Overwrites bytes of a tensor in model.safetensors.
  void overwrite(const std::string& tensor, std::size_t offset,
                 std::span<const std::byte> bytes) const;

 private:
  TempDir directory_;
  std::filesystem::path path_;
};

/// Collects what a job warns of.
class Warnings : public Monitor {
 public:
  void warning(std::string_view text) override { all += std::string(text) + "\n"; }
  std::string all;
};

}  // namespace lq::test
