// Writes what a plan says.
#include <chrono>
#include <mutex>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "lib/base/quote.h"
#include "lib/jobs/journal.h"
#include "lib/jobs/plan_files.h"
#include "lib/jobs/plan_rows.h"

namespace lq {
namespace {

/// Writes the pieces of a plan's files, some at the same time.
class PlanWriter {
 public:
  /// `journal` may be null.
  PlanWriter(const Plan& plan, const WriteOptions& options, PlanFiles& files, Journal* journal,
             Monitor& monitor)
      : plan_(plan),
        options_(options),
        files_(files),
        journal_(journal),
        monitor_(monitor),
        kernels_(choose_cpu_kernels()),
        pieces_(make_pieces(plan)),
        reports_(options.report ? pieces_.size() : 0) {}

  void run() {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i)
      if (files_.has(i)) total += plan_.tensors[i].output.bytes();
    monitor_.begin("writing", total, Unit::bytes);
    const std::vector<std::size_t> open = open_pieces();
    parallel_for(static_cast<std::ptrdiff_t>(open.size()), make_budget(plan_, options_).threads,
                 [&](std::ptrdiff_t i) { work_on(open[static_cast<std::size_t>(i)]); });
    monitor_.end();
    if (options_.report) collect();
  }

 private:
  using Clock = std::chrono::steady_clock;

  static std::uint64_t ns_since(Clock::time_point begin) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count());
  }

  /// Place and size of a piece within its tensor's bytes.
  std::pair<std::uint64_t, std::uint64_t> extent(const Piece& piece) const {
    const PlannedTensor& tensor = plan_.tensors[piece.tensor];
    const std::uint64_t unit = tensor.is_copy() ? 1 : tensor.output.row_bytes();
    return {piece.begin * unit, (piece.end - piece.begin) * unit};
  }

  /// Numbers of the pieces that are still to be done.
  std::vector<std::size_t> open_pieces() {
    std::vector<bool> done(pieces_.size());
    if (journal_) keep_finished(done);
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < pieces_.size(); ++i)
      if (!done[i] && files_.has(pieces_[i].tensor)) open.push_back(i);
    return open;
  }

  /// Takes over what an earlier run wrote, as far as it is what the journal says.
  void keep_finished(std::vector<bool>& done) {
    std::vector<std::byte> bytes;
    for (const FinishedPiece& finished : journal_->finished()) {
      monitor_.check_stop();
      const std::uint64_t at = finished.piece;
      if (at >= pieces_.size() || done[at] || (options_.report && !finished.measured)) continue;
      const auto [offset, size] = extent(pieces_[at]);
      bytes.resize(size);
      files_.read(pieces_[at].tensor, offset, bytes);
      if (quick_digest(bytes) != finished.digest) continue;
      done[at] = true;
      files_.keep(pieces_[at].tensor, size);
      if (options_.report) reports_[at] = finished.report;
      monitor_.advance(size);
    }
  }

  /// In the order of the pieces: the same sums for any number of threads.
  void collect() {
    options_.report->assign(plan_.tensors.size(), {});
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      TensorReport& report = (*options_.report)[pieces_[i].tensor];
      report.error.add(reports_[i].error);
      report.ns += reports_[i].ns;
    }
  }

  void work_on(std::size_t at) {
    {
      const std::lock_guard lock(monitor_mutex_);
      monitor_.check_stop();
    }
    const auto begin = Clock::now();
    TensorReport* report = options_.report ? &reports_[at] : nullptr;
    std::unique_ptr<Scratch> scratch = take_scratch();
    const auto bytes = make_piece(pieces_[at], *scratch, report ? &report->error : nullptr);
    files_.write(pieces_[at].tensor, extent(pieces_[at]).first, bytes);
    if (report) report->ns = ns_since(begin);
    if (journal_)
      journal_->add({at, quick_digest(bytes), report ? 1u : 0u, report ? *report : TensorReport()});
    const std::size_t n_bytes = bytes.size();
    give_back(std::move(scratch));
    const std::lock_guard lock(monitor_mutex_);
    monitor_.advance(n_bytes);
  }

  /// The bytes to be written; `error` may be null.
  std::span<const std::byte> make_piece(const Piece& piece, Scratch& scratch,
                                        EncodingError* error) const {
    const PlannedTensor& tensor = plan_.tensors[piece.tensor];
    if (!tensor.is_copy()) return make_rows(tensor, piece, scratch, error);
    const auto bytes = read_part(tensor, piece.begin, piece.end - piece.begin, scratch);
    if (options_.check_copies) check_copy(tensor, piece, bytes);
    return bytes;
  }

  std::unique_ptr<Scratch> take_scratch() {
    const std::lock_guard lock(scratch_mutex_);
    if (free_.empty()) return std::make_unique<Scratch>(Scratch{.kernels = kernels_});
    auto scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(scratch_mutex_);
    free_.push_back(std::move(scratch));
  }

  const Plan& plan_;
  const WriteOptions& options_;
  PlanFiles& files_;
  Journal* const journal_;
  Monitor& monitor_;
  const kernels::KernelTable& kernels_;
  const std::vector<Piece> pieces_;
  std::vector<TensorReport> reports_;  ///< of each piece
  std::mutex monitor_mutex_, scratch_mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

void check_tensor(const PlannedTensor& tensor) {
  const DType from = tensor.source_type(), to = tensor.output.type;
  if (tensor.is_copy()) {
    LQ_ASSERT(tensor.source->data(tensor.source_index).size() == tensor.output.bytes());
    return;
  }
  if (tensor.source)
    LQ_ASSERT(tensor.source->tensors()[tensor.source_index].row_length() ==
              tensor.output.row_length());
  else
    LQ_ASSERT(tensor.values.size() == tensor.output.elements());
  if (tensor.importance)
    LQ_ASSERT(!tensor.importance->empty() &&
              tensor.output.elements() % tensor.importance->size() == 0 &&
              tensor.importance->size() % tensor.output.row_length() == 0);
  for (const DType type : {from, to})
    if (from != to && !traits(type).has_codec())
      fail(ErrorKind::unsupported, "tensor ", quote(tensor.output.name), ": ", traits(from).name,
           " cannot be turned into ", traits(to).name, "; ", traits(type).name,
           " can only be copied");
}

/// Takes back the names that a run gave which was stopped while it did so.
void take_back_names(std::span<const std::filesystem::path> files) {
  for (const auto& file : files) {
    const auto partial = partial_path(file);
    std::error_code error;
    if (!std::filesystem::exists(file, error)) continue;
    if (!std::filesystem::exists(partial, error))
      std::filesystem::rename(file, partial, error);
    else if (std::filesystem::equivalent(file, partial, error))
      std::filesystem::remove(file, error);
    if (error) fail(ErrorKind::file, file.string(), ": cannot continue: ", error.message());
  }
}

/// The journal of the work, with what it knows in place.
std::unique_ptr<Journal> open_journal(const Plan& plan, const std::filesystem::path& output,
                                      const WriteOptions& options, Monitor& monitor) {
  const auto files = share_files(plan, output, options.share);
  std::error_code ignored;
  for (const auto& file : files) check_resumable(file);
  if (!std::filesystem::exists(journal_path(files.front()), ignored))
    for (const auto& file : files) check_output(file, options.existing, {});
  auto journal =
      std::make_unique<Journal>(journal_path(files.front()), identity_of(plan, options.share),
                                options.existing == Existing::replace);
  if (!journal->continued())  // what is there was kept by nobody
    for (const auto& file : files) std::filesystem::remove(partial_path(file), ignored);
  if (journal->naming()) take_back_names(files);
  if (journal->continued())
    monitor.warning("going on where an earlier run stopped: " +
                    std::to_string(journal->finished().size()) + " pieces are done");
  return journal;
}

}  // namespace

void write_plan(const Plan& plan, const std::filesystem::path& output, const WriteOptions& options,
                Monitor& monitor) {
  for (const PlannedTensor& tensor : plan.tensors) check_tensor(tensor);
  choose_cpu_kernels();
  make_budget(plan, options);  // both are refused before anything is made
  std::unique_ptr<Journal> journal;
  if (options.resume) journal = open_journal(plan, output, options, monitor);
  PlanFiles files(plan, output, options);
  PlanWriter(plan, options, files, journal.get(), monitor).run();
  monitor.check_stop();
  if (journal) journal->begin_naming();
  files.name_all();
  if (journal) journal->remove();
}

}  // namespace lq
