#include "lib/jobs/answer_report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "lib/base/build_info.h"
#include "lib/model/arch_spec.h"

namespace lq {
namespace {

double per_second(int n, std::chrono::nanoseconds time) {
  return 1e9 * n / static_cast<double>(std::max<std::int64_t>(time.count(), 1));
}

int processed(const SessionTimings& timings) {
  return timings.prompt_tokens - timings.cached_tokens;
}

/// `text` with everything that is not UTF-8 replaced, as JSON demands.
OrderedJson json_text(const std::string& text) {
  const std::string dumped = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return OrderedJson::parse(dumped);
}

OrderedJson settings_json(const AnswerReport& report, const Model& model) {
  OrderedJson json = {{"context", report.context},
                      {"max_tokens", report.max_tokens},
                      {"seed", report.seed},
                      {"threads", report.threads},
                      {"device", model.backend().name()},
                      {"isa", model.backend().instruction_set()},
                      {"kv_type", cache_type_name(report.kv_type)},
                      {"template", report.templated}};
  for (const SamplerNumber& number : sampler_numbers()) {
    const double value = report.sampler.*number.field;
    json[number.name] =
        number.whole ? OrderedJson(static_cast<std::int64_t>(value)) : OrderedJson(value);
  }
  return json;
}

}  // namespace

OrderedJson to_json(const AnswerReport& report, const Model& model) {
  const SessionTimings& t = report.timings;
  OrderedJson json = {
      {"schema", "lq.run.answer/1"},
      {"lq_version", build_info().version},
      {"text", json_text(report.answer.text)},
      {"reasoning", nullptr},
      {"tool_calls", OrderedJson::array()},
      {"finish_reason", name_of(report.answer.finish)},
      {"usage",
       {{"prompt_tokens", t.prompt_tokens},
        {"cached_tokens", t.cached_tokens},
        {"generated_tokens", t.generated_tokens}}},
      {"timings",
       {{"load_ns", report.load.count()},
        {"prompt_ns", t.prompt.count()},
        {"first_token_ns", t.first_token.count()},
        {"generate_ns", t.generate.count()},
        {"prompt_tokens_per_second", per_second(processed(t), t.prompt)},
        {"generated_tokens_per_second", per_second(t.generated_tokens, t.generate)}}},
      {"model",
       {{"path", model.source().name()},
        {"architecture", model.hparams().arch->gguf_name},
        {"file_type", model.weight_type()}}},
      {"settings", settings_json(report, model)},
      {"warnings", model.weights().warnings()},
      {"token_ids", report.answer.ids}};
  if (report.prompt) json["prompt"] = json_text(*report.prompt);
  return json;
}

std::string stats_text(const SessionTimings& t) {
  char text[256];
  std::snprintf(
      text, sizeof text,
      "%d prompt tokens (%d cached) %.0f t/s, %d generated %.0f t/s, first token after %.1f ms",
      t.prompt_tokens, t.cached_tokens, per_second(processed(t), t.prompt), t.generated_tokens,
      per_second(t.generated_tokens, t.generate),
      static_cast<double>(t.first_token.count()) * 1e-6);
  return text;
}

}  // namespace lq
