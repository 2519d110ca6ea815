#include "lib/jobs/calibrate.h"

#include <algorithm>
#include <chrono>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/io/text_file.h"
#include "lib/jobs/importance_collector.h"

namespace lq {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kCalibrationBatch = 512;
constexpr int kOutputBatch = 32;  ///< rows of logits at a time: they are large
constexpr std::chrono::seconds kSaveEvery{30};

std::vector<TokenId> tokens_of(const Model& model, const CalibrateOptions& options) {
  std::string text = read_text(options.text);
  if (!text.empty() && text.back() == '\n') text.pop_back();  // as the reference has it
  auto tokens =
      model.tokenizer().encode(text, {.add_special = true, .parse_special = options.parse_special});
  if (tokens.size() < static_cast<std::size_t>(options.chunk_size))
    fail(ErrorKind::input, options.text, ": has ", tokens.size(), " tokens, a chunk ",
         options.chunk_size, "; give a longer text or smaller chunks");
  return tokens;
}

class Calibration {
 public:
  Calibration(const Model& model, const CalibrateOptions& options, Monitor& monitor)
      : model_(model),
        options_(options),
        monitor_(monitor),
        tokens_(tokens_of(model, options)),
        cache_(model.backend(), model.hparams(), options.chunk_size, DType::F16),
        sequence_(cache_),
        decoder_(
            model.weights(), model.hparams(), model.backend(),
            std::min(options.chunk_size, options.with_output ? kOutputBatch : kCalibrationBatch)),
        collector_(model.weights(), model.backend(), options.threads, options.with_output) {
    const std::size_t most = tokens_.size() / static_cast<std::size_t>(options.chunk_size);
    n_chunks_ = static_cast<int>(
        options.max_chunks > 0
            ? std::min<std::size_t>(most, static_cast<std::size_t>(options.max_chunks))
            : most);
    if (options.with_output)
      logits_.resize(static_cast<std::size_t>(decoder_.max_batch() * decoder_.n_vocab()));
    decoder_.set_observer(options.observer ? options.observer : &collector_);
  }

  ImportanceMatrix run() {
    if (options_.chunk_size > model_.hparams().n_ctx_train)
      monitor_.warning(
          "chunks of " + std::to_string(options_.chunk_size) + " tokens are longer than the " +
          std::to_string(model_.hparams().n_ctx_train) + " that the model was trained for");
    begin();
    const int first = matrix_.chunk_count;
    monitor_.begin("calibrating",
                   static_cast<std::uint64_t>(n_chunks_ - first) *
                       static_cast<std::uint64_t>(options_.chunk_size),
                   Unit::tokens);
    try {
      while (matrix_.chunk_count < n_chunks_) {
        read_chunk(matrix_.chunk_count);
        collector_.take(matrix_);
        ++matrix_.chunk_count;
        if (Clock::now() - saved_ >= kSaveEvery) save();
      }
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::interrupted && matrix_.chunk_count > first) save();
      throw;
    }
    monitor_.end();
    if (matrix_.chunk_count > first) save();
    return std::move(matrix_);
  }

 private:
  void begin() {
    matrix_.name = options_.save.empty() ? "calibration" : options_.save.string();
    matrix_.datasets = {options_.text};
    matrix_.chunk_size = options_.chunk_size;
    if (!options_.resume || options_.save.empty() || !std::filesystem::exists(options_.save))
      return;
    ImportanceMatrix stored = read_importance(options_.save);
    check_same_work(stored);
    matrix_ = std::move(stored);
    save_as_ = Existing::replace;
  }

  template <class Found, class Wanted>
  [[noreturn]] void refuse(const char* what, const Found& found, const Wanted& wanted) const {
    fail(ErrorKind::usage, options_.save.string(), ": cannot be continued: ", what, " ", found,
         ", expected ", wanted, "; remove it or give another name with --save-imatrix");
  }

  /// That the file is what this work would have saved.
  void check_same_work(const ImportanceMatrix& stored) const {
    if (stored.legacy) refuse("its form is", ".dat", "GGUF");
    if (stored.chunk_size != options_.chunk_size)
      refuse("its chunk size is", stored.chunk_size, options_.chunk_size);
    if (stored.datasets != matrix_.datasets)
      refuse("its text is", quote(stored.datasets.empty() ? "" : stored.datasets.back()),
             quote(options_.text));
    if (stored.chunk_count > n_chunks_)
      refuse("its number of chunks is", stored.chunk_count, n_chunks_);
    const auto tokens = static_cast<std::int64_t>(stored.chunk_count) * stored.chunk_size;
    std::size_t n_wanted = 0;
    for (const TensorInfo& tensor : model_.source().tensors()) {
      const auto at = stored.entries.find(tensor.name);
      if (at == stored.entries.end()) continue;
      ++n_wanted;
      if (at->second.sums.size() != tensor.row_length())
        refuse((tensor.name + " has columns").c_str(), at->second.sums.size(), tensor.row_length());
      if (static_cast<float>(at->second.counts[0]) != static_cast<float>(tokens))
        refuse((tensor.name + " has tokens").c_str(), at->second.counts[0], tokens);
    }
    if (n_wanted != stored.entries.size())
      refuse("entries that this model has:", n_wanted, stored.entries.size());
    const bool with_output = options_.with_output && model_.source().find("output.weight");
    if (stored.entries.contains("output.weight") != with_output)
      refuse("its part for output.weight is", with_output ? "missing" : "there",
             with_output ? "one" : "none");
  }

  void read_chunk(int index) {
    const auto size = static_cast<std::size_t>(options_.chunk_size);
    std::vector<TokenId> chunk(tokens_.begin() + static_cast<std::ptrdiff_t>(size) * index,
                               tokens_.begin() + static_cast<std::ptrdiff_t>(size) * (index + 1));
    const Tokenizer& tokenizer = model_.tokenizer();
    if (tokenizer.adds_bos() && tokenizer.bos()) chunk[0] = *tokenizer.bos();
    sequence_.truncate(0);
    const auto batch = static_cast<std::size_t>(decoder_.max_batch());
    for (std::size_t i = 0; i < size; i += batch) {
      monitor_.check_stop();
      const auto part = std::span(chunk).subspan(i, std::min(batch, size - i));
      LQ_ASSERT(sequence_.reserve(static_cast<int>(part.size())));
      const auto n_logits = options_.with_output
                                ? part.size() * static_cast<std::size_t>(decoder_.n_vocab())
                                : std::size_t{0};
      decoder_.forward(part, sequence_, options_.with_output ? 0 : part.size(),
                       std::span(logits_).first(n_logits));
      monitor_.advance(part.size());
    }
  }

  void save() {
    saved_ = Clock::now();
    if (options_.save.empty()) return;
    write_importance(matrix_, options_.save, save_as_);
    save_as_ = Existing::replace;  // what is there now is ours
  }

  const Model& model_;
  const CalibrateOptions& options_;
  Monitor& monitor_;
  std::vector<TokenId> tokens_;
  KvCache cache_;
  KvSequence sequence_;
  Decoder decoder_;
  ImportanceCollector collector_;
  std::vector<float> logits_;
  ImportanceMatrix matrix_;
  int n_chunks_ = 0;
  Existing save_as_ = options_.existing;
  Clock::time_point saved_ = Clock::now();
};

}  // namespace

ImportanceMatrix calibrate(const Model& model, const CalibrateOptions& options, Monitor& monitor) {
  return Calibration(model, options, monitor).run();
}

}  // namespace lq
