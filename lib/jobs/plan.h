#pragma once
// The outputs that a conversion or quantization will write and how each is made: printed, sized and
// checked before a byte is written.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/monitor.h"
#include "lib/format/tensor_source.h"
#include "lib/io/atomic_file.h"
#include "lib/jobs/encoding_error.h"

namespace lq {

/// One tensor to be written.
struct PlannedTensor {
  /// Name, type and shape as written. Rows are whole blocks of the type. Unless the bytes are
  /// copied as they are, the source has as many rows of the same length (or is reached by
  /// source_row).
  TensorInfo output;
  std::size_t file = 0;            ///< number of the file that it is written to
  DType wanted_type = DType::F32;  ///< what the request or recipe asked for
  std::string reason;  ///< why the type is what it is: "recipe", "row length 80 is not a multiple
                       ///< of 256", ...

  const TensorSource* source = nullptr;  ///< null: `values` holds the content
  std::size_t source_index = 0;
  std::vector<float> values;  ///< of a generated tensor, [rows][row length]
  /// Source row of output row i; null: the same. Rows are counted over all dimensions but the
  /// first. Called from several threads.
  std::function<std::uint64_t(std::uint64_t)> source_row;
  float factor = 1;  ///< the source's values are multiplied with it
  /// How much each column matters, [matrices][row length], for a codec that can make use of it;
  /// null: all the same. The matrices (experts) are slices of rows() / matrices output rows.
  std::shared_ptr<const std::vector<float>> importance;

  DType source_type() const;
  /// Whether the source's bytes are written as they are.
  bool is_copy() const { return takes_stored_rows() && !source_row; }
  /// Whether rows of the source are rows of the output.
  bool takes_stored_rows() const { return source && factor == 1 && source_type() == output.type; }
  /// The weights of the columns of an output row, [row length]; null without importance.
  const float* importance_of(std::uint64_t row) const;
};

/// The K-th of N shares of the files.
struct Share {
  std::size_t k = 1, n = 1;
};

/// A model to be written, as one file or as parts. Sources outlive the plan.
struct Plan {
  Metadata metadata;                   ///< of the first file; split.* keys are added when written
  std::vector<PlannedTensor> tensors;  ///< in file order; those of a file one after the other
  std::size_t n_parts = 0;  ///< 0: one file of the output's name; else NAME-00001-of-0000N.gguf
  std::vector<std::string> warnings = {};  ///< what is unexpected but does not stop the work

  std::size_t n_files() const { return n_parts > 0 ? n_parts : 1; }
  /// What the files are called when the user asks for `output`: for parts, its ending .gguf is
  /// replaced.
  std::vector<std::filesystem::path> files(const std::filesystem::path& output) const;
  /// Numbers of the files in a share: [first, second). Throws Error(usage) when there is not one
  /// file a share.
  std::pair<std::size_t, std::size_t> files_of(const Share& share) const;
  /// Keys of a file: those of the model in the first, split.* in each of several.
  Metadata file_metadata(std::size_t file) const;
  std::vector<TensorInfo> outputs(std::size_t file) const;

  std::uint64_t file_bytes(const Share& share = {}) const;  ///< of all files of a share
  std::uint64_t bytes_of(std::size_t file) const;
  double bits_per_weight() const;  ///< over tensors of at least two dimensions; 0 without any
  std::size_t fallbacks() const;   ///< tensors whose type is not the wanted one
};

/// What writing a tensor did.
struct TensorReport {
  EncodingError error;   ///< nothing compared when the bytes were copied
  std::uint64_t ns = 0;  ///< time spent, the sum over all threads
};

struct WriteOptions {
  int threads = 1;
  Existing existing = Existing::refuse;
  std::uint64_t memory_limit = 0;  ///< bytes of working memory; 0: the default of 128 MiB
  Share share = {};                ///< which of the plan's files
  bool resume = false;             ///< keep what is done when stopped, and use what was kept
  bool check_copies = false;       ///< look for values that are not finite in copied tensors, too
  std::vector<TensorReport>* report = nullptr;  ///< filled, one for each tensor, when not null
};

/// Writes the plan as GGUF files, which get their names when all are complete: reads rows, converts
/// to binary32 where the types differ, encodes, writes at known offsets. The bytes do not depend on
/// the number of threads. Values that a type cannot hold (NaN, infinity) end in Error(input) that
/// names the tensor and the element. Throws Error(file | input | interrupted), Error(resource) when
/// the memory limit is too small, Error(usage) for a name that ends in .zst.
void write_plan(const Plan& plan, const std::filesystem::path& output, const WriteOptions& options,
                Monitor& monitor);

/// Bytes of working memory that write_plan needs, mapped input not counted. Throws Error(resource)
/// when they are more than the limit even with one thread.
std::uint64_t peak_memory_bytes(const Plan& plan, const WriteOptions& options);

/// Bytes free where `output` will be written; nothing for outputs that are not regular files.
std::optional<std::uint64_t> disk_free_bytes(const std::filesystem::path& output);

/// lq.<tool>.plan/1 without its envelope: tensors, total_bytes, bits_per_weight, fallbacks,
/// peak_memory_bytes, disk_free_bytes (null: unknown); of parts their names and each tensor's part.
/// Of a share its tensors and bytes.
OrderedJson plan_json(const Plan& plan, const std::filesystem::path& output,
                      const WriteOptions& options);

/// lq.<tool>.report/1 without its envelope: the plan's with rmse, cosine, worst_block (first
/// element and rmse) and ns for each tensor; null where the bytes were copied.
OrderedJson report_json(const Plan& plan, const std::filesystem::path& output,
                        const WriteOptions& options);

/// The facts of plan_json() as a table with a line a tensor, and the totals below it.
std::string plan_text(const Plan& plan, const std::filesystem::path& output,
                      const WriteOptions& options);

}  // namespace lq
