#include "tests/support/models.h"

#include <algorithm>

#include "lib/jobs/convert.h"
#include "lib/jobs/quantize.h"
#include "tests/support/toys.h"

namespace lq::test {

namespace fs = std::filesystem;

fs::path convert_checkpoint(const TempDir& dir, const std::string& name, DType type) {
  Monitor monitor;
  const auto conversion = plan_conversion({.input = checkpoint(name), .type = type}, monitor);
  const fs::path file = dir / (name + "-" + traits(type).name + ".gguf");
  write_plan(conversion.plan, file, {.threads = 2}, monitor);
  return file;
}

fs::path quantize_model(const fs::path& model, const std::string& type, bool pure) {
  Monitor monitor;
  const auto source = open_source(model);
  QuantizeOptions options{.recipe = find_quantize_type(type), .wishes = {}};
  options.wishes.pure = pure;
  const fs::path file =
      model.parent_path() / (model.stem().string() + "-" + type + (pure ? "-pure" : "") + ".gguf");
  write_plan(make_quantize_plan(*source, options), file, {.threads = 2}, monitor);
  return file;
}

LoadedModel::LoadedModel(const std::string& name, DType type, int threads, std::string_view isa)
    : path_(convert_checkpoint(dir_, name, type)),
      backend_(make_cpu_backend(threads, isa)),
      model_(std::make_unique<Model>(path_, *backend_)) {}

std::vector<float> all_logits(const Weights& weights, const HParams& hparams, Backend& backend,
                              std::span<const TokenId> tokens, int batch, DType kv_type) {
  KvCache cache(backend, hparams, static_cast<int>(tokens.size()), kv_type);
  KvSequence sequence(cache);
  Decoder decoder(weights, hparams, backend, batch);
  const auto n_vocab = static_cast<std::size_t>(weights.n_vocab);
  const auto step = static_cast<std::size_t>(batch);
  std::vector<float> logits(tokens.size() * n_vocab);
  for (std::size_t at = 0; at < tokens.size(); at += step) {
    const auto part = tokens.subspan(at, std::min(step, tokens.size() - at));
    if (!sequence.reserve(static_cast<int>(part.size())))
      throw std::runtime_error("the cache is too small");
    decoder.forward(part, sequence, 0,
                    std::span(logits).subspan(at * n_vocab, part.size() * n_vocab));
  }
  return logits;
}

}  // namespace lq::test
