// Writes what a plan says.
#include <atomic>
#include <chrono>
#include <mutex>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_writer.h"
#include "lib/jobs/plan_rows.h"

namespace lq {
namespace {

class PlanWriter {
 public:
  PlanWriter(const Plan& plan, const WriteOptions& options, GgufWriter& writer, Monitor& monitor)
      : plan_(plan),
        options_(options),
        writer_(writer),
        monitor_(monitor),
        kernels_(choose_cpu_kernels()) {}

  void run() {
    const std::vector<Piece> pieces = make_pieces(plan_);
    std::uint64_t total = 0;
    for (const PlannedTensor& tensor : plan_.tensors) total += tensor.output.bytes();
    if (options_.report) piece_reports_.resize(pieces.size());
    monitor_.begin("writing", total, Unit::bytes);
    parallel_for(static_cast<std::ptrdiff_t>(pieces.size()), make_budget(plan_, options_).threads,
                 [&](std::ptrdiff_t i) {
                   const auto at = static_cast<std::size_t>(i);
                   const auto begin = Clock::now();
                   write_piece(pieces[at], options_.report ? &piece_reports_[at].error : nullptr);
                   if (options_.report) piece_reports_[at].ns = ns_since(begin);
                 });
    monitor_.end();
    if (options_.report) collect(pieces);
  }

 private:
  using Clock = std::chrono::steady_clock;

  static std::uint64_t ns_since(Clock::time_point begin) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count());
  }

  /// In the order of the pieces: the same sums for any number of threads.
  void collect(const std::vector<Piece>& pieces) {
    options_.report->assign(plan_.tensors.size(), {});
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      TensorReport& report = (*options_.report)[pieces[i].tensor];
      report.error.add(piece_reports_[i].error);
      report.ns += piece_reports_[i].ns;
    }
  }

  /// `error` may be null.
  void write_piece(const Piece& piece, EncodingError* error) {
    {
      const std::lock_guard lock(monitor_mutex_);
      monitor_.check_stop();
    }
    const PlannedTensor& tensor = plan_.tensors[piece.tensor];
    std::uint64_t written;
    if (tensor.is_copy()) {
      copy_bytes(tensor, piece);
      written = piece.end - piece.begin;
    } else {
      std::unique_ptr<Scratch> scratch = take_scratch();
      const auto bytes = make_rows(tensor, piece, *scratch, error);
      writer_.write(piece.tensor, piece.begin * tensor.output.row_bytes(), bytes);
      written = bytes.size();
      give_back(std::move(scratch));
    }
    const std::lock_guard lock(monitor_mutex_);
    monitor_.advance(written);
  }

  void copy_bytes(const PlannedTensor& tensor, const Piece& piece) {
    const auto bytes =
        tensor.source->data(tensor.source_index).subspan(piece.begin, piece.end - piece.begin);
    if (options_.check_copies) check_copy(tensor, piece, bytes);
    writer_.write(piece.tensor, piece.begin, bytes);
    tensor.source->release(tensor.source_index, bytes);
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
  GgufWriter& writer_;
  Monitor& monitor_;
  const kernels::KernelTable& kernels_;
  std::mutex monitor_mutex_, scratch_mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
  std::vector<TensorReport> piece_reports_;
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

void check_disk(const Plan& plan, const std::filesystem::path& output) {
  const auto free = disk_free_bytes(output);
  const std::uint64_t needed = plan.file_bytes();
  if (free && needed > *free)
    fail(ErrorKind::file, output.string(), ": needs ", needed, " bytes of disk space, ", *free,
         " are free");
}

}  // namespace

void write_plan(const Plan& plan, const std::filesystem::path& output, const WriteOptions& options,
                Monitor& monitor) {
  for (const PlannedTensor& tensor : plan.tensors) check_tensor(tensor);
  choose_cpu_kernels();
  make_budget(plan, options);  // both are refused before anything is made
  check_disk(plan, output);
  GgufWriter writer(output, plan.metadata, plan.outputs(), options.existing);
  PlanWriter(plan, options, writer, monitor).run();
  monitor.check_stop();
  writer.finish();
}

}  // namespace lq
