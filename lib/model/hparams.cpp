#include "lib/model/hparams.h"

#include <cmath>
#include <string_view>

#include "lib/base/error.h"
#include "lib/model/arch_spec.h"

namespace lq {
namespace {

constexpr int kMostLayers = 16384;
constexpr int kMostWidth = 1 << 24;  ///< of a row or of all heads together
constexpr int kMostVocab = 1 << 28;
constexpr int kMostContext = 1 << 28;

/// Reads the keys of one architecture.
class Reader {
 public:
  Reader(const Metadata& metadata, std::string_view arch)
      : metadata_(metadata), prefix_(std::string(arch) + ".") {}

  std::string key(std::string_view name) const { return prefix_ + std::string(name); }
  bool has(std::string_view name) const { return metadata_.has(key(name)); }

  int integer(std::string_view name, int least, int most) const {
    return static_cast<int>(metadata_.integer(key(name), least, most));
  }
  int integer_or(std::string_view name, int fallback, int least, int most) const {
    return has(name) ? integer(name, least, most) : fallback;
  }
  double number_or(std::string_view name, double fallback) const {
    return metadata_.find_number(key(name)).value_or(fallback);
  }
  /// A number that some files write once a layer; all layers have to agree.
  int same_in_all_layers(std::string_view name, int n_layers, int least, int most) const {
    const auto* value = metadata_.find(key(name));
    if (!value || value->type != ValueType::array) return integer(name, least, most);
    const auto list = *metadata_.find_integers(key(name));
    if (list.size() != static_cast<std::size_t>(n_layers))
      fail(ErrorKind::input, metadata_.file_name(), ": ", key(name), " has ", list.size(),
           " values; expected one for each of the ", n_layers, " layers");
    for (const auto v : list) {
      if (v < least || v > most)
        fail(ErrorKind::input, metadata_.file_name(), ": ", key(name), " holds ", v,
             "; expected values from ", least, " to ", most);
      if (v != list[0])
        fail(ErrorKind::unsupported, metadata_.file_name(), ": ", key(name),
             " differs between layers (", list[0], " and ", v,
             "); only models with equal layers are supported");
    }
    return static_cast<int>(list[0]);
  }

  template <class... Parts>
  [[noreturn]] void bad(ErrorKind kind, std::string_view name, const Parts&... parts) const {
    fail(kind, metadata_.file_name(), ": ", key(name), " ", parts...);
  }

 private:
  const Metadata& metadata_;
  std::string prefix_;
};

void read_heads(const Reader& r, HParams& h) {
  h.n_heads = r.same_in_all_layers("attention.head_count", h.n_layers, 1, kMostWidth);
  h.n_kv_heads = r.has("attention.head_count_kv")
                     ? r.same_in_all_layers("attention.head_count_kv", h.n_layers, 1, kMostWidth)
                     : h.n_heads;
  if (h.n_heads % h.n_kv_heads != 0)
    r.bad(ErrorKind::input, "attention.head_count_kv", "is ", h.n_kv_heads,
          "; expected a divisor of the ", h.n_heads, " heads");
  if (!r.has("attention.key_length") && h.n_embd % h.n_heads != 0)
    r.bad(ErrorKind::input, "attention.head_count", "is ", h.n_heads,
          "; expected a divisor of the embedding length ", h.n_embd);
  h.head_dim =
      r.integer_or("attention.key_length", h.n_embd / h.n_heads, 1, kMostWidth / h.n_heads);
  h.value_dim =
      r.integer_or("attention.value_length", h.n_embd / h.n_heads, 1, kMostWidth / h.n_heads);
  if (h.value_dim < 1)
    r.bad(ErrorKind::input, "attention.value_length", "is missing; expected it because ", h.n_embd,
          " is less than the number of heads");
}

void read_rope(const Reader& r, const Metadata& metadata, HParams& h) {
  h.n_rot = r.integer_or("rope.dimension_count", h.head_dim, 2, h.head_dim);
  if (h.n_rot < 2 || h.n_rot % 2 != 0)
    r.bad(ErrorKind::input, "rope.dimension_count", "is ", h.n_rot, "; expected an even number");
  const double base = r.number_or("rope.freq_base", 10000);
  h.rope_base = static_cast<float>(base);
  if (!(h.rope_base > 0) || !std::isfinite(h.rope_base))
    r.bad(ErrorKind::input, "rope.freq_base", "is ", base, "; expected a positive number");

  const auto type = metadata.find_string(r.key("rope.scaling.type")).value_or("linear");
  if (type == "none") return;
  if (type != "linear")
    r.bad(ErrorKind::unsupported, "rope.scaling.type", "is '", type,
          "'; supported are none and linear");
  // A file without a factor has no scaling; very old files name it differently.
  const double factor = r.number_or("rope.scaling.factor", r.number_or("rope.scale_linear", 1));
  if (factor == 0) return;
  h.rope_scale = static_cast<float>(1 / factor);
  if (!(h.rope_scale > 0) || !std::isfinite(h.rope_scale))
    r.bad(ErrorKind::input, "rope.scaling.factor", "is ", factor, "; expected a positive number");
}

void refuse_what_the_forward_pass_lacks(const Reader& r, const Metadata& metadata) {
  if (const int experts = r.integer_or("expert_count", 0, 0, 1 << 20); experts > 0)
    r.bad(ErrorKind::unsupported, "expert_count", "is ", experts,
          "; models with experts are not supported");
  if (const auto causal = metadata.find_bool(r.key("attention.causal")); causal && !*causal)
    r.bad(ErrorKind::unsupported, "attention.causal",
          "is false; only models that generate text are supported");
}

}  // namespace

HParams HParams::parse(const Metadata& metadata) {
  HParams h;
  const auto& name = metadata.string("general.architecture");
  h.arch = find_arch(name);
  if (!h.arch)
    fail(ErrorKind::unsupported, metadata.file_name(), ": architecture '", name,
         "' is not supported; supported are ", supported_archs());
  const Reader r(metadata, name);
  refuse_what_the_forward_pass_lacks(r, metadata);
  h.n_layers = r.integer("block_count", 1, kMostLayers);
  h.n_ctx_train = r.integer("context_length", 1, kMostContext);
  h.n_embd = r.integer("embedding_length", 1, kMostWidth);
  h.n_ff = r.same_in_all_layers("feed_forward_length", h.n_layers, 1, kMostWidth);
  h.n_vocab = r.integer_or("vocab_size", 0, 1, kMostVocab);
  read_heads(r, h);
  read_rope(r, metadata, h);
  const double eps = metadata.number(r.key("attention.layer_norm_rms_epsilon"));
  if (!(eps >= 0 && eps < 1))
    r.bad(ErrorKind::input, "attention.layer_norm_rms_epsilon", "is ", eps,
          "; expected a number from 0 to 1");
  h.rms_eps = static_cast<float>(eps);
  return h;
}

}  // namespace lq
