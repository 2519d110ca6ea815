#pragma once
// What a run has finished, so that a later one can go on where it stopped.
#include <array>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/io/descriptor.h"
#include "lib/jobs/plan.h"

namespace lq {

/// A piece of work that is done.
struct FinishedPiece {
  std::uint64_t piece = 0;     ///< its number in make_pieces()
  std::uint64_t digest = 0;    ///< quick_digest() of the bytes written
  std::uint64_t measured = 0;  ///< 1: `report` says what was measured
  TensorReport report;
};

/// A file that grows by a record for each finished piece. Its head says what plan and inputs it is
/// for. A record that was cut off or damaged ends it. One process at a time has it open.
class Journal {
 public:
  using Identity = std::array<std::uint8_t, 32>;

  /// Opens or creates `path`. Throws Error(usage) when it is of another plan or input and `replace`
  /// is false (else it begins anew), Error(file) when another process has it open.
  Journal(const std::filesystem::path& path, const Identity& identity, bool replace);

  /// What earlier runs have finished; of a piece done twice the last.
  const std::vector<FinishedPiece>& finished() const { return finished_; }
  /// Whether it was begun by an earlier run.
  bool continued() const { return continued_; }
  /// Whether that run had finished everything and was giving the files their names.
  bool naming() const { return naming_; }

  void add(const FinishedPiece& piece);  ///< safe from several threads
  void begin_naming();
  void remove();  ///< all is done

 private:
  struct Record;

  void read_records();
  void append(const Record& record);

  std::filesystem::path path_;
  Descriptor file_;
  std::mutex mutex_;
  std::vector<FinishedPiece> finished_;
  bool continued_ = false, naming_ = false;
};

/// Identity of the work: the plan as it will be written, the version of the program, and of each
/// input its size, its time of change and its beginning.
Journal::Identity identity_of(const Plan& plan, const Share& share);

/// The same for work that `settings` say everything of.
Journal::Identity identity_of(std::string_view settings,
                              std::span<const std::filesystem::path> inputs);

/// 64 bits that tell different contents apart: to recognise damage, not against malice.
std::uint64_t quick_digest(std::span<const std::byte> bytes);

/// "OUT.lq-journal" beside the first file of the share.
std::filesystem::path journal_path(const std::filesystem::path& first_output);

}  // namespace lq
