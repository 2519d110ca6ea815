#include "lib/infer/model.h"

#include <algorithm>
#include <array>

#include "lib/base/error.h"

namespace lq {

Model::Model(const std::filesystem::path& path, Backend& backend, const LoadOptions& options)
    : Model(open_source(path), backend, options) {}

Model::Model(std::unique_ptr<TensorSource> source, Backend& backend, const LoadOptions& options)
    : backend_(backend), source_(std::move(source)) {
  const Metadata& metadata = source_->metadata();
  if (metadata.entries().empty())
    fail(ErrorKind::unsupported, source_->name(), ": ", source_->format(),
         " file; GGUF files and Hugging Face folders can be run; lq-convert makes a GGUF file");
  hparams_ = HParams::parse(metadata);
  tokenizer_ = make_tokenizer(metadata);
  weights_ = std::make_unique<Weights>(*source_, hparams_, backend, options);
  if (tokenizer_->size() > weights_->n_vocab)
    fail(ErrorKind::input, source_->name(), ": the tokenizer has ", tokenizer_->size(),
         " tokens, token_embd.weight only ", weights_->n_vocab, " rows");
}

std::string Model::weight_type() const {
  std::array<std::uint64_t, kDTypeCount> bytes{};
  for (const TensorInfo& info : source_->tensors())
    bytes[static_cast<std::size_t>(info.type)] += info.bytes();
  const auto most = std::max_element(bytes.begin(), bytes.end()) - bytes.begin();
  return traits(static_cast<DType>(most)).name;
}

std::optional<std::string> Model::chat_template() const {
  return source_->metadata().find_string("tokenizer.chat_template");
}

}  // namespace lq
