#include "lib/jobs/convert_config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr int kMost = 1 << 28;
constexpr int kMostLayersOfConfig = 16384;

std::optional<std::int64_t> named_number(const JsonObject& config, std::string_view name, int) {
  return config.integer(name, 1, kMost);
}
std::optional<double> named_number(const JsonObject& config, std::string_view name, double) {
  return config.number(name);
}

/// The first of a key's names that is there.
template <class T>
std::optional<T> find_config_number(const JsonObject& config, const ConfigKey<T>& key) {
  for (const auto name : key.hf)
    if (!name.empty())
      if (const auto value = named_number(config, name, T{})) return static_cast<T>(*value);
  return std::nullopt;
}

template <class T>
T required(const JsonObject& config, const std::optional<T>& value, std::string_view key) {
  if (!value) fail(ErrorKind::input, config.where(), ": ", key, " is missing");
  return *value;
}

/// Sizes that the class has a value for, or that follow from others.
bool may_be_absent(const ConfigKey<int>& key) {
  return key.member == &HfConfig::n_ctx || key.member == &HfConfig::n_kv_heads;
}

/// The class named in "architectures".
HfMatch find_class(const JsonObject& config) {
  std::string found;
  if (const auto* names = config.list("architectures")) {
    for (const auto& name : *names) {
      if (!name.is_string()) continue;
      const auto text = name.get<std::string>();
      if (const auto match = find_hf_class(text); match.arch) return match;
      found += (found.empty() ? "" : ", ") + quote(text, 60);
    }
  }
  std::string supported;
  for (const auto* arch : all_archs())
    for (const auto& hf_class : arch->hf_classes)
      supported += (supported.empty() ? "" : ", ") + std::string(hf_class.class_name);
  fail(ErrorKind::unsupported, config.where(), ": architectures ",
       found.empty() ? "is missing" : "is " + found + ", which is not supported",
       "; supported are ", supported);
}

void read_head_shape(const JsonObject& c, const ConfigDefaults& defaults, HfConfig& h) {
  const bool said_null = c.has("num_key_value_heads");
  if (h.n_kv_heads == 0)
    h.n_kv_heads = defaults.n_kv_heads > 0 && !said_null ? defaults.n_kv_heads : h.n_heads;
  if (const auto dim = c.integer(kHeadDimName, 1, kMost)) h.head_dim = static_cast<int>(*dim);
  if (!h.head_dim && defaults.head_dim > 0) h.head_dim = defaults.head_dim;
  if (!h.head_dim && h.n_embd % h.n_heads != 0)
    fail(ErrorKind::input, c.where(), ": num_attention_heads is ", h.n_heads,
         "; expected a divisor of hidden_size ", h.n_embd);
  if (!h.head_dim && defaults.derive_head_dim) h.head_dim = h.n_embd / h.n_heads;
}

RopeFrequencyScaling read_frequency_scaling(const JsonObject& rope) {
  RopeFrequencyScaling s;
  for (const auto& key : kFrequencyScalingKeys)
    s.*key.member = rope.number(key.hf).value_or(s.*key.member);
  s.original_context = rope.integer(kOriginalContext, 1, kMost).value_or(s.original_context);
  if (!(s.factor > 0) || !(s.low > 0) || !(s.high > s.low))
    fail(ErrorKind::input, rope.where(), ": factor ", s.factor, ", low_freq_factor ", s.low,
         ", high_freq_factor ", s.high, "; expected positive numbers, the last the largest");
  return s;
}

void read_rope(const JsonObject& c, const ConfigDefaults& defaults, HfConfig& h) {
  auto rope = c.object("rope_parameters");
  if (rope.empty()) rope = c.object("rope_scaling");
  auto theta = rope.number("rope_theta");
  if (!theta) theta = find_config_number(c, kThetaKey);
  h.rope_theta = theta.value_or(defaults.rope_theta);
  if (!(h.rope_theta > 0))
    fail(ErrorKind::input, c.where(), ": rope_theta is ", h.rope_theta,
         "; expected a positive number");
  auto type = rope.string("rope_type");
  if (!type) type = rope.string("type");
  if (!type || *type == "default") return;
  if (*type == "linear") {
    h.linear_rope_factor = required(rope, rope.number("factor"), "factor");
  } else if (*type == "llama3") {
    if (!find_rule(*h.arch, "rope_freqs.weight"))
      fail(ErrorKind::unsupported, rope.where(), ": rope_type 'llama3' is not supported for ",
           h.arch->gguf_name, " models");
    h.frequency_scaling = read_frequency_scaling(rope);
  } else {
    fail(ErrorKind::unsupported, rope.where(), ": rope_type is ", quote(*type),
         "; supported are default, linear and llama3");
  }
}

/// Refuses what the format cannot say and a reader would therefore compute differently.
void check_limits_of_the_format(const JsonObject& c, const HfConfig& h, Monitor& monitor) {
  for (const char* key : {"hidden_act", "hidden_activation"})
    if (const auto act = c.string(key); act && *act != "silu" && *act != "swish")
      fail(ErrorKind::unsupported, c.where(), ": ", key, " is ", quote(*act),
           "; supported is silu");
  if (const auto* pattern = c.list("no_rope_layers")) {
    for (std::size_t i = 0; i < pattern->size(); ++i) {
      const bool rotated = h.arch->no_rope_every == 0 ||
                           (i + 1) % static_cast<std::size_t>(h.arch->no_rope_every) != 0;
      const auto& flag = (*pattern)[i];
      if (!flag.is_number_integer() || (flag.get<std::int64_t>() != 0) != rotated)
        fail(ErrorKind::unsupported, c.where(), ": no_rope_layers[", i, "] is ", flag.dump(),
             "; supported for ", h.arch->gguf_name, " is ", rotated ? 1 : 0, " at this place");
    }
  }
  const bool window_used = c.boolean("use_sliding_window").value_or(true);
  if (const auto window = c.integer("sliding_window", 0, INT64_MAX);
      window && window_used && *window < h.n_ctx)
    monitor.warning(c.where() + ": sliding_window " + std::to_string(*window) +
                    " is not stored; texts longer than that are attended to as a whole");
}

}  // namespace

HfConfig read_hf_config(const HfFolder& folder, Monitor& monitor) {
  const auto c = folder.config();
  if (c.empty())
    fail(ErrorKind::input, folder.path().string(),
         ": has no config.json; expected a Hugging Face model folder");
  const auto match = find_class(c);
  const auto& defaults = match.hf_class->defaults;
  HfConfig h;
  h.arch = match.arch;
  h.file = c.where();
  h.n_ctx = defaults.context_length;
  for (const auto& key : kSizeKeys) {
    const auto size = find_config_number(c, key);
    if (!may_be_absent(key)) required(c, size, key.hf[0]);
    if (size) h.*key.member = *size;
  }
  if (h.n_layers > kMostLayersOfConfig)
    fail(ErrorKind::input, c.where(), ": ", kSizeKeys[0].hf[0], " is ", h.n_layers,
         "; expected an integer from 1 to ", kMostLayersOfConfig);
  h.n_vocab = required(c, find_config_number(c, kVocabularyKey), kVocabularyKey.hf[0]);
  read_head_shape(c, defaults, h);
  read_rope(c, defaults, h);
  h.rms_eps = find_config_number(c, kEpsKey).value_or(defaults.rms_eps);
  check_limits_of_the_format(c, h, monitor);
  return h;
}

void add_parameters(const HfConfig& h, std::uint32_t file_type, Metadata& metadata) {
  const auto prefix = std::string(h.arch->gguf_name) + ".";
  const auto u32 = [&](std::string_view name, int value) {
    metadata.set(prefix + std::string(name), Value::of_u32(static_cast<std::uint32_t>(value)));
  };
  const auto f32 = [&](std::string_view name, double value) {
    metadata.set(prefix + std::string(name), Value::of_f32(value));
  };
  for (const auto& key : kSizeKeys) u32(key.gguf, h.*key.member);
  if (h.linear_rope_factor) {
    metadata.set(prefix + std::string(kRopeTypeKey), Value::of_string("linear"));
    f32(kRopeFactorKey, *h.linear_rope_factor);
  }
  f32(kThetaKey.gguf, h.rope_theta);
  f32(kEpsKey.gguf, h.rms_eps);
  if (h.head_dim)
    for (const auto key : kHeadDimKeys) u32(key, *h.head_dim);
  metadata.set("general.file_type", Value::of_u32(file_type));
  for (const auto key : h.arch->extra_keys) {
    switch (key) {
      case ExtraKey::vocab_size:
        u32(kVocabularyKey.gguf, h.n_vocab);
        break;
      case ExtraKey::rope_dimension_count:
        u32("rope.dimension_count", h.rope_dimensions());
        break;
    }
  }
}

std::vector<float> rope_frequency_divisors(const RopeFrequencyScaling& s, double theta, int n_rot) {
  const auto f = [](double x) { return static_cast<float>(x); };
  const double context = static_cast<double>(s.original_context);
  const float longest_plain = f(context / s.high), shortest_scaled = f(context / s.low);
  std::vector<float> divisors;
  for (int i = 0; i < n_rot; i += 2) {
    const float exponent = f(i) / f(n_rot);
    // In double, then rounded: the correctly rounded binary32 power.
    const float power = f(std::pow(static_cast<double>(f(theta)), static_cast<double>(exponent)));
    const float frequency = 1.0F / power;
    const float wave = (1.0F / frequency) * f(2 * std::numbers::pi);
    if (wave < longest_plain) {
      divisors.push_back(1);
    } else if (wave > shortest_scaled) {
      divisors.push_back(f(s.factor));
    } else {
      // The product in double is exact; rounding it apart keeps it from being fused with the rest.
      const float waves = f(static_cast<double>(1.0F / wave) * static_cast<double>(f(context)));
      const float smooth = (waves - f(s.low)) / f(s.high - s.low);
      divisors.push_back(1.0F / ((1.0F - smooth) / f(s.factor) + smooth));
    }
  }
  return divisors;
}

}  // namespace lq
