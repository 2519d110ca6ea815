#include "lib/jobs/weight_scheme.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/jobs/weight_method.h"

namespace lq {
namespace {

const std::vector<WeightScheme>& all_schemes() {
  static const std::vector<WeightScheme> kSchemes = [] {
    std::vector<WeightScheme> schemes = {
#define LQ_SCHEME(name, format, number, bits, scales, group, symmetric, activations, inputs) \
  {#name,                                                                                    \
   format,                                                                                   \
   WeightNumber::number,                                                                     \
   bits,                                                                                     \
   ScalesOf::scales,                                                                         \
   group,                                                                                    \
   symmetric,                                                                                \
   ActivationScheme::activations,                                                            \
   InputScales::inputs},
#include "lib/jobs/weight_schemes.def"
#undef LQ_SCHEME
    };
    for (WeightScheme& scheme : schemes)
      if (scheme.format == "bitsandbytes") scheme.layout = WeightLayout::bitsandbytes;
    return schemes;
  }();
  return kSchemes;
}

const std::vector<LayoutTraits>& all_layouts() {
  static const std::vector<LayoutTraits> kLayouts = [] {
    std::vector<LayoutTraits> layouts = {
#define LQ_LAYOUT(name, bits, symmetric, zeros, scales, others, what) \
  {#name, bits, symmetric, zeros, ScaleType::scales, OtherTensors::others, what},
#include "lib/jobs/weight_layouts.def"
#undef LQ_LAYOUT
    };
    layouts[0].name = "compressed-tensors";  // no identifier
    return layouts;
  }();
  return kLayouts;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

bool layout_holds(WeightLayout layout, const WeightScheme& scheme) {
  if (layout == scheme.layout) return true;
  if (layout == WeightLayout::fp8)
    return scheme.is_float8() &&
           (scheme.scales == ScalesOf::block || scheme.scales == ScalesOf::tensor);
  const LayoutTraits& of = traits(layout);
  return layout != WeightLayout::compressed_tensors && scheme.number == WeightNumber::integer &&
         scheme.activations == ActivationScheme::none &&
         of.bits.find(static_cast<char>('0' + scheme.bits)) != std::string_view::npos &&
         (scheme.symmetric ? of.symmetric : of.zero_points);
}

void add_name(std::string& text, const std::string& name) {
  text += (text.empty() ? "" : ", ") + name;
}

void choose_layout(WeightScheme& scheme, std::string_view name) {
  const auto& layouts = all_layouts();
  const auto found = std::find_if(layouts.begin(), layouts.end(),
                                  [&](const LayoutTraits& one) { return one.name == name; });
  LQ_ASSERT(found != layouts.end());  // the option's check
  const auto layout = static_cast<WeightLayout>(found - layouts.begin());
  if (layout == scheme.layout) return;
  if (!layout_holds(layout, scheme)) {
    std::string formats, schemes;
    for (std::size_t i = 0; i < layouts.size(); ++i)
      if (layout_holds(static_cast<WeightLayout>(i), scheme)) add_name(formats, layouts[i].name);
    for (const WeightScheme& one : all_schemes())
      if (layout_holds(layout, one)) add_name(schemes, one.name);
    fail(ErrorKind::usage, "--format ", name, " does not go with ", scheme.name, ": it holds ",
         schemes, "; formats for ", scheme.name, " are ", formats);
  }
  scheme.layout = layout;
  scheme.format = name;
}

void choose_groups(WeightScheme& scheme, const std::string& size) {
  if (scheme.number != WeightNumber::integer || scheme.activations == ActivationScheme::int8_token)
    fail(ErrorKind::usage, "--group-size does not go with ", scheme.name,
         ", whose groups are fixed");
  if (size != "channel") {
    scheme.group_size = std::stoi(size);
    return;
  }
  if (scheme.layout == WeightLayout::modelopt)
    fail(ErrorKind::usage, "--group-size channel does not go with --format modelopt, which has ",
         "groups only; use 128");
  scheme.scales = ScalesOf::channel;
  scheme.group_size = 0;
}

void choose_method(WeightScheme& scheme, const std::string& name) {
  const WeightMethod* method = find_weight_method(name);
  LQ_ASSERT(method);  // the option's check
  if (scheme.number != WeightNumber::integer && method->searches)
    fail(ErrorKind::usage, "--method ", name, " does not go with ", scheme.name,
         ": it chooses integers; use rtn");
  if (!(scheme.symmetric ? method->symmetric : method->zero_points)) {
    std::string methods;
    for (const WeightMethod& one : weight_methods())
      if (scheme.symmetric ? one.symmetric : one.zero_points) add_name(methods, one.name);
    fail(ErrorKind::usage, "--method ", name, " does not go with ", scheme.name, ", which has ",
         scheme.symmetric ? "no zero points" : "zero points", "; methods for it are ", methods,
         scheme.symmetric ? ", and W4A16_ASYM has zero points" : "");
  }
  scheme.method = name;
}

void choose_float8(WeightScheme& scheme, const std::string& name) {
  if (!scheme.is_float8())
    fail(ErrorKind::usage, "--fp8 does not go with ", scheme.name,
         ", whose weights are no 8-bit floats with scales of their own");
  if (name == "e4m3") return;
  if (scheme.layout != WeightLayout::fp8)
    fail(ErrorKind::usage, "--fp8 e5m2 does not go with ", scheme.name, " as ", scheme.format,
         ", whose 8-bit floats are always E4M3; use --format fp8 with FP8 or FP8_BLOCK");
  scheme.number = WeightNumber::e5m2;
}

void choose_f32_scales(WeightScheme& scheme) {
  const bool of_model = traits(scheme.layout).scales == ScaleType::model;
  if (!of_model || scheme.layout == WeightLayout::modelopt ||
      (scheme.number != WeightNumber::integer && !scheme.is_float8()))
    fail(ErrorKind::usage, "--scale-dtype does not go with ", scheme.name, " as ", scheme.format,
         ", whose scales have a type of their own");
  scheme.scale_type = ScaleType::f32;
}

}  // namespace

const LayoutTraits& traits(WeightLayout layout) {
  return all_layouts()[static_cast<std::size_t>(layout)];
}

std::span<const LayoutTraits> weight_layouts() { return all_layouts(); }

double WeightScheme::bits_per_weight() const {
  if (scales != ScalesOf::group) return bits;
  double scale_bits = number == WeightNumber::integer ? 16 : 8;
  if (scale_type == ScaleType::f32) scale_bits = 32;
  if (layout == WeightLayout::bitsandbytes) scale_bits = nested ? 8 + 32.0 / 256 : 32;
  return bits + (scale_bits + (symmetric ? 0 : bits)) / group_size;
}

DType WeightScheme::scales_for(DType matrix) const {
  switch (scale_type.value_or(traits(layout).scales)) {
    case ScaleType::f16:
      return DType::F16;
    case ScaleType::f32:
      return DType::F32;
    default:
      return matrix;
  }
}

std::span<const WeightScheme> weight_schemes() { return all_schemes(); }

const WeightScheme* find_weight_scheme(std::string_view name) {
  for (const WeightScheme& scheme : all_schemes())
    if (equals_ignoring_case(scheme.name, name)) return &scheme;
  return nullptr;
}

WeightScheme with_choices(WeightScheme scheme, const SchemeChoices& choices) {
  if (!choices.format.empty()) choose_layout(scheme, choices.format);
  if (!choices.group_size.empty()) choose_groups(scheme, choices.group_size);
  if (!choices.method.empty()) choose_method(scheme, choices.method);
  if (!choices.float8.empty()) choose_float8(scheme, choices.float8);
  if (choices.scale_type == "f32") choose_f32_scales(scheme);
  if (!choices.double_quant) return scheme;
  if (scheme.number != WeightNumber::bnb_nf4 && scheme.number != WeightNumber::bnb_fp4)
    fail(ErrorKind::usage, "--double-quant does not go with ", scheme.name,
         ": it quantizes the scales of NF4 and FP4");
  scheme.nested = true;
  return scheme;
}

}  // namespace lq
