#include "lib/format/tensor_source.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_reader.h"
#include "lib/format/hf_directory.h"
#include "lib/format/safetensors.h"
#include "lib/io/mapped_file.h"

namespace lq {
namespace {

constexpr std::size_t kHeadBytes = 64;

/// What other programs write that people may try to open, by the first bytes.
const char* advice_for(std::string_view head) {
  const auto starts = [&](std::string_view magic) { return head.substr(0, magic.size()) == magic; };
  if (starts("lmgg") || starts("fmgg") || starts("tjgg"))
    return "a GGML file from before GGUF; convert the original model again";
  if (starts("PK\3\4") || starts("\x80\2") || starts("\x80\4"))
    return "a PyTorch file; save the model with safetensors, e.g. by "
           "model.save_pretrained(folder, safe_serialization=True)";
  if (starts("version https://git-lfs"))
    return "a Git LFS pointer; fetch the model itself with git lfs pull";
  if (head.empty()) return "an empty file";
  return "of an unknown format";
}

}  // namespace

void TensorSource::read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const {
  const auto part = data(index).subspan(offset, into.size());
  std::copy(part.begin(), part.end(), into.begin());
}

std::optional<std::size_t> TensorSource::find(std::string_view tensor_name) const {
  if (!index_.empty()) {
    const auto at = index_.find(tensor_name);
    return at == index_.end() ? std::nullopt : std::optional(at->second);
  }
  for (std::size_t i = 0; i < tensors().size(); ++i)
    if (tensors()[i].name == tensor_name) return i;
  return std::nullopt;
}

void TensorSource::index_tensors(const std::vector<TensorInfo>& tensors) {
  index_.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (!index_.try_emplace(tensors[i].name, i).second)
      fail(ErrorKind::input, name(), ": tensor ", quote(tensors[i].name), " appears twice");
}

std::unique_ptr<TensorSource> open_source(const std::filesystem::path& path) {
  std::error_code ignored;  // a path that is not there is reported by reading it
  const bool is_directory = std::filesystem::is_directory(path, ignored);
  const auto bytes = is_directory ? std::vector<std::byte>() : read_head(path, kHeadBytes);
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const SourceProbe probe{path, is_directory, head};
  std::string known;
#define LQ_SOURCE(Reader, description)                               \
  if (Reader::accepts(probe)) return std::make_unique<Reader>(path); \
  known += std::string(known.empty() ? "" : ", ") + (description);
#include "lib/format/sources.def"
#undef LQ_SOURCE
  fail(ErrorKind::unsupported, path.string(), ": is ", advice_for(head), "; models are read from ",
       known);
}

}  // namespace lq
