#include "lib/infer/session.h"

#include <algorithm>

#include "lib/infer/stop_text.h"
#include "lib/text/unicode.h"

namespace lq {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kDefaultContext = 8192;

int chosen_context(const SessionOptions& options, const HParams& hparams) {
  if (options.context > 0) return options.context;
  return std::min(hparams.n_ctx_train, kDefaultContext);
}

std::size_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                                  a.begin());
}

}  // namespace

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::context:
      return "context";
    case FinishReason::interrupted:
      return "interrupted";
  }
  return "";
}

Session::Session(const Model& model, const SessionOptions& options)
    : model_(model),
      context_(chosen_context(options, model.hparams())),
      cache_(model.backend(), model.hparams(), context_, options.kv_type),
      sequence_(cache_),
      decoder_(model.weights(), model.hparams(), model.backend(),
               std::min(options.max_batch, context_)),
      logits_(static_cast<std::size_t>(model.weights().n_vocab)) {}

void Session::clear() {
  sequence_.truncate(0);
  ids_.clear();
  timings_ = {};
}

void Session::set_prompt(std::span<const TokenId> ids, Monitor& monitor) {
  const auto start = Clock::now();
  if (ids.empty()) fail(ErrorKind::input, "the prompt is empty; give at least one token");
  if (ids.size() > static_cast<std::size_t>(context_))
    fail(ErrorKind::input, "the prompt has ", ids.size(), " tokens, the context ", context_,
         "; shorten it or ask for a larger context (-c)");
  // The last token is always run again: its logits are the result.
  const auto in_cache = std::span(ids_).first(static_cast<std::size_t>(sequence_.length()));
  const std::size_t cached = std::min(common_prefix(in_cache, ids), ids.size() - 1);
  sequence_.truncate(static_cast<int>(cached));
  ids_.assign(ids.begin(), ids.end());
  const auto batch = static_cast<std::size_t>(decoder_.max_batch());
  for (std::size_t i = cached; i < ids.size(); i += batch) {
    monitor.check_stop();
    const auto part = ids.subspan(i, std::min(batch, ids.size() - i));
    const bool last = i + part.size() == ids.size();
    LQ_ASSERT(sequence_.reserve(static_cast<int>(part.size())));
    decoder_.forward(part, sequence_, last ? part.size() - 1 : part.size(),
                     std::span(logits_).first(last ? logits_.size() : 0));
    monitor.advance(part.size());
  }
  timings_ = {.prompt_tokens = static_cast<int>(ids.size()),
              .cached_tokens = static_cast<int>(cached),
              .prompt = Clock::now() - start};
}

bool Session::extend(TokenId id) {
  if (sequence_.length() >= context_) return false;
  LQ_ASSERT(sequence_.reserve(1));
  decoder_.forward(std::span(&id, 1), sequence_, 0, logits_);
  return true;
}

Answer Session::generate(Sampler& sampler, const GenerateOptions& options,
                         const std::function<void(std::string_view)>& on_text, Monitor& monitor) {
  const Tokenizer& tokenizer = model_.tokenizer();
  const auto start = Clock::now();
  Answer answer;
  Utf8Assembler characters;
  StopText stop(options.stops);
  const auto show = [&](const std::string& text) {
    answer.text += text;
    if (!text.empty()) on_text(text);
  };
  timings_.generated_tokens = 0;
  for (int n = 0;; ++n) {
    if (options.max_tokens >= 0 && n >= options.max_tokens) {
      answer.finish = FinishReason::length;
      break;
    }
    if (monitor.stop_requested()) {
      answer.finish = FinishReason::interrupted;
      break;
    }
    const TokenId id = sampler.sample(logits_, ids_);
    if (n == 0) timings_.first_token = timings_.prompt + (Clock::now() - start);
    ++timings_.generated_tokens;
    if (tokenizer.ends_generation(id) && !options.ignore_end) break;
    answer.ids.push_back(id);
    ids_.push_back(id);
    if (id < tokenizer.size()) show(stop.feed(characters.feed(tokenizer.piece(id, false))));
    if (stop.matched()) break;
    if (!extend(id)) {
      answer.finish = FinishReason::context;
      break;
    }
  }
  if (!stop.matched()) show(stop.feed(characters.flush()));
  if (!stop.matched()) show(stop.flush());
  timings_.generate = Clock::now() - start;
  return answer;
}

}  // namespace lq
