#include "lib/jobs/bench_quality.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "lib/base/quote.h"
#include "lib/base/sha256.h"
#include "lib/infer/decoder.h"
#include "lib/infer/model.h"
#include "lib/io/text_file.h"
#include "lib/jobs/base_logits.h"
#include "lib/jobs/bench_report.h"
#include "lib/jobs/plan_source.h"

namespace lq {
namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

/// Tokens of a step: more are not read faster, and their logits take memory.
constexpr int kQualityBatch = 128;

/// A model that reads chunks, and its logits.
class ChunkReader {
 public:
  ChunkReader(const fs::path& path, Backend& backend, const QualityOptions& options, int n_ctx,
              Monitor& monitor)
      : model_(open_runnable(path, options.threads, monitor), backend,
               {.repack = !options.exact, .round_inputs = !options.exact, .monitor = &monitor}),
        cache_(backend, model_.hparams(), n_ctx, options.kv_type),
        sequence_(cache_),
        decoder_(model_.weights(), model_.hparams(), backend, std::min(n_ctx, kQualityBatch)),
        logits_(static_cast<std::size_t>(decoder_.max_batch()) * n_vocab()) {
    if (n_ctx > model_.hparams().n_ctx_train)
      monitor.warning(
          path.string() + ": chunks of " + std::to_string(n_ctx) + " tokens are longer than the " +
          std::to_string(model_.hparams().n_ctx_train) + " that the model was trained for");
  }

  const Model& model() const { return model_; }
  std::size_t n_vocab() const { return static_cast<std::size_t>(model_.weights().n_vocab); }
  std::size_t max_batch() const { return static_cast<std::size_t>(decoder_.max_batch()); }

  /// The next tokens of a chunk; the first one begins it. Keeps the logits from `first_logits` on.
  void read(std::span<const TokenId> tokens, std::size_t first_logits, bool begins) {
    std::vector<TokenId> ids(tokens.begin(), tokens.end());
    if (begins) {
      sequence_.truncate(0);
      const Tokenizer& tokenizer = model_.tokenizer();
      if (tokenizer.adds_bos() && tokenizer.bos()) ids[0] = *tokenizer.bos();
    }
    LQ_ASSERT(sequence_.reserve(static_cast<int>(ids.size())));
    decoder_.forward(ids, sequence_, first_logits,
                     std::span(logits_).first((ids.size() - first_logits) * n_vocab()));
  }
  /// After the token of read() that has the index first_logits + `row`.
  std::span<const float> logits(std::size_t row) const {
    return std::span(logits_).subspan(row * n_vocab(), n_vocab());
  }

 private:
  Model model_;
  KvCache cache_;
  KvSequence sequence_;
  Decoder decoder_;
  std::vector<float> logits_;
};

/// What is read, cut into chunks.
struct Chunks {
  std::vector<TokenId> tokens;
  int n_ctx = 0, count = 0;

  std::span<const TokenId> at(int index) const {
    const auto n = static_cast<std::size_t>(n_ctx);
    return std::span(tokens).subspan(static_cast<std::size_t>(index) * n, n);
  }
};

std::vector<TokenId> text_tokens(const Tokenizer& tokenizer, std::string_view text) {
  auto tokens = tokenizer.encode(text, {.add_special = true, .parse_special = false});
  // An end would stand in the middle of what is read.
  if (tokenizer.adds_eos() && !tokens.empty() && tokens.back() == tokenizer.eos())
    tokens.pop_back();
  return tokens;
}

int limited(std::size_t chunks, int limit) {
  const auto most = static_cast<int>(std::min<std::size_t>(chunks, 1 << 30));
  return limit > 0 ? std::min(limit, most) : most;
}

Chunks text_chunks(const Tokenizer& tokenizer, std::string_view text, const QualityOptions& options,
                   int n_ctx) {
  Chunks chunks{.tokens = text_tokens(tokenizer, text), .n_ctx = n_ctx};
  const auto n = static_cast<std::size_t>(n_ctx);
  if (chunks.tokens.size() < 2 * n)
    fail(ErrorKind::input, options.text, ": has ", chunks.tokens.size(), " tokens, ", 2 * n,
         " are needed (two chunks of ", n_ctx, "); give a longer text or smaller chunks (--ctx)");
  chunks.count = limited(chunks.tokens.size() / n, options.max_chunks);
  return chunks;
}

/// That the text is what the file was made of, with this tokenizer.
void check_same_text(const BaseLogits& base, const Tokenizer& tokenizer, std::string_view text,
                     const std::string& name) {
  const auto tokens = text_tokens(tokenizer, text);
  const auto stored = base.tokens();
  const auto place = std::mismatch(stored.begin(), stored.end(), tokens.begin(), tokens.end());
  if (place.first == stored.end()) return;
  const auto index = place.first - stored.begin();
  fail(ErrorKind::input, base.name(), ": its token ", index, " is ", *place.first, ", ", name,
       place.second == tokens.end() ? std::string(" ends there")
                                    : " has " + std::to_string(*place.second),
       "; it was made of another text or by a model with another tokenizer");
}

void check_same_vocabulary(const Model& model, const Model& reference) {
  const std::string& name = model.source().name();
  const std::string& other = reference.source().name();
  const Tokenizer &found = model.tokenizer(), &wanted = reference.tokenizer();
  if (model.weights().n_vocab != reference.weights().n_vocab || found.size() != wanted.size())
    fail(ErrorKind::input, name, ": its vocabulary has ", model.weights().n_vocab,
         " tokens, that of ", other, " ", reference.weights().n_vocab,
         "; only models of one vocabulary can be compared");
  for (TokenId id = 0; id < found.size(); ++id)
    if (found.token_text(id) != wanted.token_text(id))
      fail(ErrorKind::input, name, ": its token ", id, " is ", quote(found.token_text(id)),
           ", that of ", other, " ", quote(wanted.token_text(id)),
           "; only models of one vocabulary can be compared");
}

class QualityBench {
 public:
  QualityBench(const QualityOptions& options, Monitor& monitor)
      : options_(options), monitor_(monitor), backend_(make_cpu_backend(options.threads)) {
    if (!options.base.empty()) base_.emplace(options.base);
    n_ctx_ = options.n_ctx > 0 ? options.n_ctx : base_ ? base_->shape().n_ctx : kDefaultContext;
    if (base_ && n_ctx_ != base_->shape().n_ctx)
      fail(ErrorKind::input, base_->name(), ": was made with chunks of ", base_->shape().n_ctx,
           " tokens, --ctx says ", n_ctx_, "; leave it out");
    if (!options.text.empty()) text_ = read_text(options.text);
    text_sha256_ = sha256_hex(std::as_bytes(std::span(text_)));
    if (!text_.empty() && text_.back() == '\n') text_.pop_back();  // as the reference has it
  }

  QualityReport head() const {
    QualityReport report{.machine = machine_facts(), .text = options_.text};
    if (!options_.text.empty()) report.text_sha256 = text_sha256_;
    report.reference_stored = base_.has_value();
    const fs::path& reference = base_ ? options_.base : options_.reference;
    report.reference = reference.string();
    if (options_.hash && !reference.empty())
      report.reference_sha256 = files_sha256(
          base_ ? std::vector{reference} : open_runnable(reference, 1, monitor_)->files());
    return report;
  }

  QualityCase measure(const fs::path& path) {
    const auto start = Clock::now();
    ChunkReader model(path, *backend_, options_, n_ctx_, monitor_);
    std::optional<ChunkReader> reference;
    if (!options_.reference.empty()) {
      reference.emplace(options_.reference, *backend_, options_, n_ctx_, monitor_);
      check_same_vocabulary(model.model(), reference->model());
    }
    const Chunks chunks =
        chunks_for(model, reference ? reference->model().tokenizer() : model.model().tokenizer());
    const auto loaded = Clock::now();
    QualityCase result = facts_of(model.model(), path, chunks.count);
    start_saving(model, chunks);
    score_chunks(chunks, model, reference ? &*reference : nullptr, result.scores);
    if (writer_) writer_->commit();
    result.load_ns = std::chrono::nanoseconds(loaded - start).count();
    result.run_ns = std::chrono::nanoseconds(Clock::now() - loaded).count();
    return result;
  }

 private:
  Chunks chunks_for(const ChunkReader& model, const Tokenizer& tokenizer) const {
    if (!base_) return text_chunks(tokenizer, text_, options_, n_ctx_);
    const BaseShape& shape = base_->shape();
    if (static_cast<std::size_t>(shape.n_vocab) != model.n_vocab())
      fail(ErrorKind::input, base_->name(), ": was made with a vocabulary of ", shape.n_vocab,
           " tokens, ", model.model().source().name(), " has ", model.n_vocab());
    if (!options_.text.empty()) check_same_text(*base_, tokenizer, text_, options_.text);
    return {.tokens = {base_->tokens().begin(), base_->tokens().end()},
            .n_ctx = n_ctx_,
            .count = limited(static_cast<std::size_t>(shape.n_chunks), options_.max_chunks)};
  }

  QualityCase facts_of(const Model& model, const fs::path& path, int n_chunks) const {
    return {.model = path.string(),
            .model_sha256 = options_.hash ? files_sha256(model.source().files()) : "",
            .architecture = std::string(model.hparams().arch->gguf_name),
            .weight_type = model.weight_type(),
            .model_bytes = model.weights().bytes(),
            .parameters = model.weights().parameters(),
            .n_ctx = n_ctx_,
            .n_chunks = n_chunks,
            .threads = options_.threads,
            .isa = std::string(backend_->instruction_set()),
            .device = std::string(backend_->name()),
            .kv_type = cache_type_name(options_.kv_type),
            .exact = options_.exact,
            .compared = base_ || !options_.reference.empty(),
            .warnings = model.weights().warnings(),
            .scores = {}};
  }

  void start_saving(const ChunkReader& model, const Chunks& chunks) {
    if (options_.save_logits.empty()) return;
    const BaseShape shape{
        .n_ctx = n_ctx_, .n_vocab = static_cast<int>(model.n_vocab()), .n_chunks = chunks.count};
    const auto n_tokens = static_cast<std::size_t>(n_ctx_) * static_cast<std::size_t>(chunks.count);
    writer_.emplace(options_.save_logits, options_.existing, shape,
                    std::span(chunks.tokens).first(n_tokens));
    rows_.resize(model.max_batch() * base_row_bytes(shape.n_vocab));
  }

  void score_chunks(const Chunks& chunks, ChunkReader& model, ChunkReader* reference,
                    std::vector<TokenScore>& scores) {
    const auto n_read = static_cast<std::size_t>(n_ctx_) - 1;  // nothing follows the last token
    const auto first = static_cast<std::size_t>(first_scored(n_ctx_));
    monitor_.begin("reading with " + model.model().source().name(),
                   static_cast<std::uint64_t>(chunks.count) * n_read, Unit::tokens);
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
      const auto tokens = chunks.at(chunk);
      for (std::size_t at = 0; at < n_read; at += model.max_batch()) {
        monitor_.check_stop();
        const auto part = tokens.subspan(at, std::min(model.max_batch(), n_read - at));
        const std::size_t first_logits = std::min(first - std::min(first, at), part.size());
        model.read(part, first_logits, at == 0);
        if (reference) reference->read(part, first_logits, at == 0);
        if (first_logits < part.size())
          score(model, reference, chunk, at + first_logits - first,
                tokens.subspan(at + first_logits + 1, part.size() - first_logits), scores);
        monitor_.advance(part.size());
      }
      if (base_) base_->release(chunk);
    }
    monitor_.end();
  }

  /// Scored tokens of a chunk from `index` on; `next` are the tokens that follow them.
  void score(const ChunkReader& model, const ChunkReader* reference, int chunk, std::size_t index,
             std::span<const TokenId> next, std::vector<TokenScore>& scores) {
    const std::size_t done = scores.size(),
                      row_bytes = base_row_bytes(static_cast<int>(model.n_vocab()));
    scores.resize(done + next.size());
    parallel_for(static_cast<std::ptrdiff_t>(next.size()), options_.threads, [&](std::ptrdiff_t i) {
      const auto row = static_cast<std::size_t>(i);
      TokenScore& score = scores[done + row];
      if (base_)
        score = score_stored(model.logits(row), chunk, static_cast<int>(index + row), next[row]);
      else if (reference)
        score = score_token(model.logits(row), reference->logits(row), next[row]);
      else
        score = score_token(model.logits(row), next[row]);
      if (!std::isfinite(score.loss) || !std::isfinite(score.divergence))
        fail_not_finite(model, reference, chunk, index + row, score);
      if (writer_)
        encode_base_row(model.logits(row), std::span(rows_).subspan(row * row_bytes, row_bytes));
    });
    if (writer_) writer_->append(std::span(rows_).first(next.size() * row_bytes));
  }

  TokenScore score_stored(std::span<const float> logits, int chunk, int index, TokenId next) const {
    double total = 0;
    const TokenScore score = score_token(logits, base_->row(chunk, index), next, total);
    // Rounding to 16 bits and what is left out change it by less.
    if (!(total > 0.9 && total < 1.1))
      base_->fail_at(chunk, index,
                     "probabilities add up to " + std::to_string(total) +
                         ", 1 was expected; the file is damaged");
    return score;
  }

  [[noreturn]] void fail_not_finite(const ChunkReader& model, const ChunkReader* reference,
                                    int chunk, std::size_t index, const TokenScore& score) const {
    const bool mine = !std::isfinite(score.loss) || !reference;
    fail(ErrorKind::input, (mine ? model : *reference).model().source().name(),
         ": computes numbers that are not finite, first seen in chunk ", chunk + 1,
         " at scored token ", index + 1);
  }

  const QualityOptions& options_;
  Monitor& monitor_;
  std::unique_ptr<Backend> backend_;
  std::optional<BaseLogits> base_;
  int n_ctx_ = 0;
  std::string text_, text_sha256_;
  std::optional<BaseLogitsWriter> writer_;
  std::vector<std::byte> rows_;  ///< for writer_, of one step
};

/// What can fail before hours of work fails first.
void check_quality_inputs(const QualityOptions& options, Monitor& monitor) {
  if (!options.reference.empty() && !options.base.empty())
    fail(ErrorKind::usage, "a model and a file to compare with exclude each other");
  if (options.text.empty() && options.base.empty())
    fail(ErrorKind::usage, "there is no text to read");
  std::vector<fs::path> inputs = options.models;
  if (!options.reference.empty()) inputs.push_back(options.reference);
  for (const fs::path& path : inputs) (void)open_runnable(path, 1, monitor);
  if (options.save_logits.empty()) return;
  if (options.models.size() != 1)
    fail(ErrorKind::usage, "log-probabilities of one model can be saved, not of ",
         options.models.size());
  if (!options.text.empty() && options.text != "-") inputs.emplace_back(options.text);
  if (!options.base.empty()) inputs.push_back(options.base);
  check_output(options.save_logits, options.existing, inputs);
}

}  // namespace

QualityReport bench_quality(const QualityOptions& options,
                            const std::function<void(const QualityReport&)>& on_case,
                            Monitor& monitor) {
  check_quality_inputs(options, monitor);
  QualityBench bench(options, monitor);
  QualityReport report = bench.head();
  for (const fs::path& path : options.models) {
    report.cases.push_back(bench.measure(path));
    on_case(report);
  }
  return report;
}

}  // namespace lq
