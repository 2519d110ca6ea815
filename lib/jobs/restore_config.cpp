#include "lib/jobs/restore_config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/convert_general.h"
#include "lib/text/tokenizer_keys.h"

namespace lq {
namespace {

/// The number that was written before it was rounded to binary32: the shortest that rounds to it.
double unrounded(double value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, static_cast<float>(value)).ptr;
  double result = value;
  std::from_chars(text, end, result);
  return result;
}

/// The token id under a key; nothing when it is absent or says that there is none.
std::optional<std::int64_t> token_under(const Metadata& metadata, std::string_view key) {
  const auto n = static_cast<std::int64_t>(
      metadata.has(tokenizer_keys::kTokens) ? metadata.strings(tokenizer_keys::kTokens).size() : 0);
  const auto id = metadata.find_integer(key, INT64_MIN, INT64_MAX);
  return id && *id >= 0 && *id < n ? id : std::nullopt;
}

constexpr std::string_view kPadding = "tokenizer.ggml.padding_token_id";

Json id_or_null(const Metadata& metadata, std::string_view key) {
  const auto id = token_under(metadata, key);
  return id ? Json(*id) : Json();
}

/// Wave length of pair `i`, of `n_rot` / 2.
double wave_length(double theta, int n_rot, std::size_t i) {
  return 2 * std::numbers::pi * std::pow(theta, 2.0 * static_cast<double>(i) / n_rot);
}

/// Whether the settings make these divisors, but for the last bits that other programs may have
/// rounded in another way.
bool makes(const RopeFrequencyScaling& scaling, const std::vector<float>& divisors, double theta,
           int n_rot) {
  const auto made = rope_frequency_divisors(scaling, theta, n_rot);
  if (made.size() != divisors.size()) return false;
  for (std::size_t i = 0; i < made.size(); ++i)
    if (!(std::fabs(made[i] - divisors[i]) <= 4e-6F * divisors[i])) return false;
  return true;
}

/// With the factor known, 1 / divisor is linear in the frequency where it is neither 1 nor the
/// factor: smooth = (original_context / wave - low) / (high - low).
struct SmoothPoint {
  double frequency, smooth;  ///< 1 / wave length
};

std::vector<SmoothPoint> smooth_points(const std::vector<float>& divisors, double theta, int n_rot,
                                       double factor) {
  std::vector<SmoothPoint> points;
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    const double d = static_cast<double>(divisors[i]);
    if (d > 1 && d < factor)
      points.push_back({1 / wave_length(theta, n_rot, i), (1 / d - 1 / factor) / (1 - 1 / factor)});
  }
  return points;
}

/// Without such a pair only bounds are known; all numbers between them make the same divisors. The
/// lowest power of two.
std::int64_t context_between(const std::vector<float>& divisors, double theta, int n_rot,
                             const RopeFrequencyScaling& s) {
  double least = 1;
  for (std::size_t i = 0; i < divisors.size(); ++i)
    if (divisors[i] <= 1) least = std::max(least, s.high * wave_length(theta, n_rot, i));
  return static_cast<std::int64_t>(std::exp2(std::floor(std::log2(least)) + 1));
}

/// Warns of keys of the architecture that conversion would not make of this configuration.
void check_known_keys(const Metadata& metadata, const HfConfig& config, Monitor& monitor) {
  Metadata written;
  add_parameters(config, 0, written);
  const std::string prefix = std::string(config.arch->gguf_name) + ".";
  std::string lost;
  for (const auto& entry : metadata.entries()) {
    if (!entry.key.starts_with(prefix) || written.has(entry.key)) continue;
    const std::string_view name = std::string_view(entry.key).substr(prefix.size());
    // Looked at by HParams, and found to be what the class does anyway.
    constexpr std::string_view kChecked[] = {
        kVocabularyKey.gguf, "rope.dimension_count", "rope.scale_linear", kRopeTypeKey,
        kRopeFactorKey,      "attention.causal",     "expert_count",      "rope.scaling.finetuned"};
    if (std::find(std::begin(kChecked), std::end(kChecked), name) == std::end(kChecked))
      lost += (lost.empty() ? "" : ", ") + quote(entry.key, 60);
  }
  if (!lost.empty())
    monitor.warning(metadata.file_name() + ": config.json cannot say " + lost +
                    "; the model may compute otherwise without");
}

HfConfig config_of(const Metadata& metadata, const HParams& h, const TensorFacts& facts) {
  const auto& name = metadata.file_name();
  const std::string arch(h.arch->gguf_name);
  if (h.value_dim != h.head_dim)
    fail(ErrorKind::unsupported, name, ": values have ", h.value_dim, " dimensions a head, keys ",
         h.head_dim, "; the classes of ", arch, " have one number for both");
  if (h.n_rot != h.head_dim)
    fail(ErrorKind::unsupported, name, ": ", arch, ".rope.dimension_count is ", h.n_rot,
         "; the classes of ", arch, " rotate whole heads, ", h.head_dim);
  HfConfig c;
  c.arch = h.arch;
  c.file = name;
  c.n_layers = h.n_layers;
  c.n_ctx = h.n_ctx_train;
  c.n_embd = h.n_embd;
  c.n_ff = h.n_ff;
  c.n_heads = h.n_heads;
  c.n_kv_heads = h.n_kv_heads;
  c.n_vocab = facts.n_vocab;
  const auto key = [&](std::string_view k) { return arch + "." + std::string(k); };
  // Absent as in the file, unless the class would then take a number of its own.
  if (metadata.has(key(kHeadDimKeys[0])) || h.arch->hf_classes[0].defaults.head_dim > 0)
    c.head_dim = h.head_dim;
  c.rope_theta = unrounded(static_cast<double>(h.rope_base));
  c.rms_eps = unrounded(static_cast<double>(h.rms_eps));
  if (h.rope_scale != 1.0F)
    c.linear_rope_factor =
        unrounded(metadata.find_number(key(kRopeFactorKey)).value_or(1 / h.rope_scale));
  if (facts.rope_divisors.empty()) return c;
  c.frequency_scaling =
      find_frequency_scaling(facts.rope_divisors, static_cast<double>(h.rope_base), h.n_rot);
  if (!c.frequency_scaling)
    fail(ErrorKind::unsupported, name,
         ": rope_freqs.weight: no rope_scaling of type 'llama3' makes these numbers; other types "
         "are not written");
  if (c.linear_rope_factor)
    fail(ErrorKind::unsupported, name, ": has ", key(kRopeFactorKey),
         " and rope_freqs.weight; config.json can say one of them");
  return c;
}

Json rope_scaling_of(const HfConfig& c) {
  if (c.linear_rope_factor) return {{"rope_type", "linear"}, {"factor", *c.linear_rope_factor}};
  if (!c.frequency_scaling) return nullptr;
  Json scaling = {{"rope_type", "llama3"},
                  {kOriginalContext, c.frequency_scaling->original_context}};
  for (const auto& key : kFrequencyScalingKeys)
    scaling[key.hf] = (*c.frequency_scaling).*key.member;
  return scaling;
}

}  // namespace

std::optional<RopeFrequencyScaling> find_frequency_scaling(const std::vector<float>& divisors,
                                                           double theta, int n_rot) {
  RopeFrequencyScaling s;
  const bool sane =
      std::all_of(divisors.begin(), divisors.end(), [](float d) { return d >= 1 && d <= 1e6F; });
  if (divisors.empty() || !sane || !(divisors.back() > 1)) return std::nullopt;
  s.factor = unrounded(static_cast<double>(divisors.back()));
  const auto points = smooth_points(divisors, theta, n_rot, s.factor);
  const auto fits = [&] { return makes(s, divisors, theta, n_rot); };
  if (points.empty()) {
    s.original_context = context_between(divisors, theta, n_rot, s);
    return fits() ? std::optional(s) : std::nullopt;
  }
  const auto take_context = [&] {  // from the point where rounding counts least
    const auto& p = points[points.size() / 2];
    const double context = (p.smooth * (s.high - s.low) + s.low) / p.frequency;
    s.original_context = std::clamp<std::int64_t>(std::llround(context), 1, 1 << 28);
  };
  take_context();
  if (fits()) return s;
  if (points.size() < 2) return std::nullopt;
  // Another ratio of high to low: smooth = slope * frequency - low / (high - low).
  const auto &a = points.front(), &b = points.back();
  const double slope = (a.smooth - b.smooth) / (a.frequency - b.frequency);
  const double low_share = slope * a.frequency - a.smooth;
  if (!(low_share > 0)) return std::nullopt;
  s.high = std::round((1 + low_share) / low_share * 1000) / 1000;
  if (!(s.high > s.low)) return std::nullopt;
  take_context();
  return fits() ? std::optional(s) : std::nullopt;
}

std::string restored_config(const Metadata& metadata, const HParams& hparams,
                            const TensorFacts& facts, Monitor& monitor) {
  const HfConfig c = config_of(metadata, hparams, facts);
  check_known_keys(metadata, c, monitor);
  const HfClass& hf_class = c.arch->hf_classes[0];
  Json json = {{"architectures", {hf_class.class_name}},
               {"model_type", hf_class.model_type},
               {"attention_bias", facts.attention_bias},
               {"hidden_act", "silu"},
               {"rope_scaling", rope_scaling_of(c)},
               {"tie_word_embeddings", facts.tied},
               {"torch_dtype", torch_name(facts.type)},
               {"use_cache", true},
               {"bos_token_id", id_or_null(metadata, tokenizer_keys::kBos)},
               {"eos_token_id", id_or_null(metadata, tokenizer_keys::kEos)},
               {"pad_token_id", id_or_null(metadata, kPadding)}};
  for (const auto& key : kSizeKeys) json[std::string(key.hf[0])] = c.*key.member;
  json[std::string(kVocabularyKey.hf[0])] = c.n_vocab;
  for (const auto* key : {&kThetaKey, &kEpsKey}) json[std::string(key->hf[0])] = c.*key->member;
  if (c.head_dim) json[std::string(kHeadDimName)] = *c.head_dim;
  if (const int every = c.arch->no_rope_every; every > 0) {
    json["no_rope_layer_interval"] = every;
    for (int layer = 0; layer < c.n_layers; ++layer)
      json["no_rope_layers"].push_back((layer + 1) % every != 0 ? 1 : 0);
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<ConfigFile> restored_generation_config(const Metadata& metadata) {
  Json json = Json::object();
  for (const auto& field : sampling_fields()) {
    const std::string key = std::string("general.sampling.") + field.key;
    using Kind = SamplingField::Kind;
    if (field.kind == Kind::text) {
      if (const auto text = metadata.find_string(key)) json[field.hf_name] = *text;
    } else if (field.kind == Kind::integer) {
      if (const auto n = metadata.find_integer(key, INT32_MIN, INT32_MAX)) json[field.hf_name] = *n;
    } else if (const auto number = metadata.find_number(key)) {
      json[field.hf_name] = unrounded(*number);
    }
  }
  if (!json.empty()) json["do_sample"] = json.value("temperature", 1.0) > 0;
  Json ends = Json::array();
  for (const auto key : {tokenizer_keys::kEos, tokenizer_keys::kEot, tokenizer_keys::kEom})
    if (const auto id = token_under(metadata, key);
        id && std::find(ends.begin(), ends.end(), *id) == ends.end())
      ends.push_back(*id);
  if (json.empty() && ends.size() < 2) return std::nullopt;
  if (ends.size() == 1) json["eos_token_id"] = ends[0];
  if (ends.size() > 1) json["eos_token_id"] = ends;
  for (const auto& [name, key] :
       {std::pair("bos_token_id", tokenizer_keys::kBos), std::pair("pad_token_id", kPadding)})
    if (const auto id = token_under(metadata, key)) json[name] = *id;
  return ConfigFile{"generation_config.json",
                    json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"};
}

}  // namespace lq
