#include "lib/jobs/token_io.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/build_info.h"
#include "lib/infer/decoder.h"

namespace lq {
namespace {

constexpr int kLogitsBatch = 64;

/// Integers in [0, end) from a JSON list.
std::vector<int> integers(const Json& json, const char* what, std::int64_t end,
                          const std::string& name) {
  if (!json.is_array()) fail(ErrorKind::input, name, ": ", what, " is not a list");
  std::vector<int> result;
  for (const Json& item : json) {
    if (!item.is_number_integer() || item.get<std::int64_t>() < 0 ||
        item.get<std::int64_t>() >= end)
      fail(ErrorKind::input, name, ": ", what, " holds ",
           item.dump(-1, ' ', true, Json::error_handler_t::replace),
           "; expected integers from 0 to ", end - 1);
    result.push_back(item.get<int>());
  }
  return result;
}

/// Logits of every token, handed out as on_row(position, logits).
template <class OnRow>
void for_each_logits(const Model& model, std::span<const TokenId> tokens, DType kv_type,
                     Monitor& monitor, const OnRow& on_row) {
  const int n_tokens = static_cast<int>(tokens.size());
  KvCache cache(model.backend(), model.hparams(), n_tokens, kv_type);
  KvSequence sequence(cache);
  Decoder decoder(model.weights(), model.hparams(), model.backend(),
                  std::min(kLogitsBatch, n_tokens));
  const auto n_vocab = static_cast<std::size_t>(decoder.n_vocab());
  std::vector<float> logits(static_cast<std::size_t>(decoder.max_batch()) * n_vocab);
  for (int at = 0; at < n_tokens; at += kLogitsBatch) {
    monitor.check_stop();
    const auto part =
        tokens.subspan(static_cast<std::size_t>(at),
                       static_cast<std::size_t>(std::min(kLogitsBatch, n_tokens - at)));
    LQ_ASSERT(sequence.reserve(static_cast<int>(part.size())));
    decoder.forward(part, sequence, 0, std::span(logits).first(part.size() * n_vocab));
    for (std::size_t i = 0; i < part.size(); ++i)
      on_row(at + static_cast<int>(i),
             std::span<const float>(logits).subspan(i * n_vocab, n_vocab));
  }
}

}  // namespace

void tokenize_lines(const Tokenizer& tokenizer, EncodeOptions options, std::string_view text,
                    const std::string& name, const std::function<void(std::string_view)>& on_line) {
  std::size_t line_number = 0;
  for (std::size_t at = 0; at < text.size();) {
    ++line_number;
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = name + ":" + std::to_string(line_number);
    const Json json = parse_json(line, where);
    if (!json.is_string()) fail(ErrorKind::input, where, ": not a JSON string");
    const auto ids = tokenizer.encode(json.get_ref<const std::string&>(), options);
    std::string out = "[";
    for (std::size_t i = 0; i < ids.size(); ++i) out += (i ? ", " : "") + std::to_string(ids[i]);
    on_line(out + "]");
  }
}

OrderedJson logits_of(const Model& model, std::string_view request, const std::string& name,
                      DType kv_type, Monitor& monitor) {
  const Json json = parse_json(request, name);
  if (json.is_object() && !json.contains("tokens"))
    fail(ErrorKind::input, name,
         ": no \"tokens\"; expected {\"tokens\": [ids], \"positions\": [indices]}");
  const Json& list = json.is_object() ? json["tokens"] : json;
  const std::vector<TokenId> tokens = integers(list, "\"tokens\"", model.weights().n_vocab, name);
  if (tokens.empty()) fail(ErrorKind::input, name, ": \"tokens\" is empty");
  const auto n_tokens = static_cast<int>(tokens.size());
  std::vector<int> positions = {n_tokens - 1};
  if (json.is_object() && json.contains("positions"))
    positions = integers(json["positions"], "\"positions\"", n_tokens, name);
  OrderedJson logits = OrderedJson::object();
  for_each_logits(model, tokens, kv_type, monitor, [&](int position, std::span<const float> row) {
    if (std::find(positions.begin(), positions.end(), position) == positions.end()) return;
    OrderedJson values = OrderedJson::array();
    for (const float value : row) values.push_back(value);
    logits[std::to_string(position)] = std::move(values);
  });
  return {{"schema", "lq.run.logits/1"},
          {"lq_version", build_info().version},
          {"tokens", tokens},
          {"logits", std::move(logits)}};
}

}  // namespace lq
