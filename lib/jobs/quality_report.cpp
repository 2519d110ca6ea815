#include "lib/jobs/quality_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/jobs/bench_report.h"

namespace lq {
namespace {

OrderedJson text_or_null(const std::string& text) {
  return text.empty() ? OrderedJson() : OrderedJson(text);
}

void add_quantiles(OrderedJson& json, std::span<const float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) json[quantiles()[i].key] = values[i];
}

OrderedJson divergence_json(const QualityCase& c) {
  const Divergence all = divergence_of(c.scores);
  OrderedJson json = {{"mean", all.mean.value}, {"error", all.mean.error}};
  add_quantiles(json, all.quantiles);
  OrderedJson chunks = OrderedJson::array(), same_top = OrderedJson::array();
  for (int i = 0; i < c.n_chunks; ++i) {
    const Divergence one = divergence_of(c.chunk(i));
    chunks.push_back(one.mean.value);
    same_top.push_back(one.same_top.value);
  }
  json["chunks"] = std::move(chunks);
  json["base_perplexity"] = estimate_json(all.base_perplexity);
  json["perplexity_ratio"] = estimate_json(all.ratio);
  json["log_perplexity_ratio"] = estimate_json(all.log_ratio);
  json["perplexity_difference"] = estimate_json(all.difference);
  json["log_perplexity_correlation"] = all.correlation;
  json["same_top"] = estimate_json(all.same_top);
  json["same_top"]["chunks"] = std::move(same_top);
  json["probability_change"] = {{"mean", all.change.value},
                                {"error", all.change.error},
                                {"rms", estimate_json(all.change_rms)}};
  add_quantiles(json["probability_change"], all.change_quantiles);
  return json;
}

}  // namespace

double QualityCase::bits_per_weight() const {
  return 8 * static_cast<double>(model_bytes) /
         static_cast<double>(std::max<std::uint64_t>(parameters, 1));
}

std::span<const TokenScore> QualityCase::chunk(int index) const {
  const auto n = static_cast<std::size_t>(scored_tokens(n_ctx));
  return std::span(scores).subspan(static_cast<std::size_t>(index) * n, n);
}

OrderedJson estimate_json(const Estimate& estimate) {
  return {{"value", estimate.value}, {"error", estimate.error}};
}

OrderedJson to_json(const QualityCase& c) {
  OrderedJson json = {{"model", c.model},
                      {"model_sha256", text_or_null(c.model_sha256)},
                      {"architecture", c.architecture},
                      {"weight_type", c.weight_type},
                      {"model_bytes", c.model_bytes},
                      {"parameters", c.parameters},
                      {"bits_per_weight", c.bits_per_weight()},
                      {"n_ctx", c.n_ctx},
                      {"n_chunks", c.n_chunks},
                      {"scored_tokens", c.scores.size()},
                      {"threads", c.threads},
                      {"isa", c.isa},
                      {"device", c.device},
                      {"kv_type", c.kv_type},
                      {"exact", c.exact},
                      {"warnings", c.warnings},
                      {"load_ns", c.load_ns},
                      {"run_ns", c.run_ns}};
  json["perplexity"] = estimate_json(perplexity_of(c.scores));
  json["perplexity"]["chunks"] = OrderedJson::array();
  for (int i = 0; i < c.n_chunks; ++i)
    json["perplexity"]["chunks"].push_back(perplexity_of(c.chunk(i)).value);
  if (c.compared) json["kld"] = divergence_json(c);
  return json;
}

OrderedJson to_json(const QualityReport& report) {
  OrderedJson json = report_head("lq.bench.quality/1", report.machine);
  json["text"] = text_or_null(report.text);
  json["text_sha256"] = text_or_null(report.text_sha256);
  if (!report.reference.empty())
    json["reference"] = {{"path", report.reference},
                         {"sha256", text_or_null(report.reference_sha256)},
                         {"kind", report.reference_stored ? "file" : "model"},
                         {"bits", report.reference_stored ? 16 : 32}};
  json["cases"] = OrderedJson::array();
  for (const QualityCase& c : report.cases) json["cases"].push_back(to_json(c));
  return json;
}

}  // namespace lq
