#include "lib/jobs/hf_model.h"

#include <algorithm>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/format/gguf_reader.h"
#include "lib/format/hf_directory.h"
#include "lib/io/text_file.h"
#include "lib/jobs/plan_rows.h"
#include "lib/jobs/restore.h"

namespace lq {
namespace {

/// What belongs to a model beside weights, their index and the configuration.
std::vector<std::filesystem::path> other_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string ending = entry.path().extension().string();
    if (!entry.is_regular_file() || name == "config.json" || name.starts_with(".")) continue;
    if (name.ends_with(".safetensors.index.json") || name.ends_with(".bin.index.json")) continue;
    constexpr std::string_view kWeights[] = {".safetensors", ".bin", ".pt",      ".pth",
                                             ".gguf",        ".h5",  ".msgpack", ".onnx"};
    if (std::find(std::begin(kWeights), std::end(kWeights), ending) == std::end(kWeights))
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

HfModel model_of_folder(const std::filesystem::path& path) {
  const auto directory = std::make_shared<HfDirectory>(path);
  HfModel model;
  model.name = directory->name();
  model.source = directory;
  for (std::size_t i = 0; i < directory->tensors().size(); ++i) {
    HfModel::Tensor tensor;
    tensor.made.output = directory->tensors()[i];
    tensor.made.source = directory.get();
    tensor.made.source_index = i;
    tensor.stored_as = directory->stored_as(i);
    tensor.foreign = directory->is_foreign(i);
    tensor.bytes = directory->raw_data(i).size();
    tensor.file = directory->file_of(i);
    model.tensors.push_back(std::move(tensor));
  }
  model.config = read_text(directory->file("config.json"));
  model.copied = other_files(path);
  return model;
}

}  // namespace

void HfModel::read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const {
  const PlannedTensor& made = tensors[index].made;
  if (made.is_copy()) return made.source->read(made.source_index, offset, into);
  const std::uint64_t row_bytes = made.output.row_bytes();
  const Piece rows{index, offset / row_bytes, (offset + into.size() + row_bytes - 1) / row_bytes};
  Scratch scratch{choose_cpu_kernels(), {}, {}, {}, {}};
  const auto bytes = make_rows(made, rows, scratch, nullptr);
  const auto part = bytes.subspan(offset - rows.begin * row_bytes, into.size());
  std::copy(part.begin(), part.end(), into.begin());
}

HfModel open_hf_model(const std::filesystem::path& path, const HfModelOptions& options,
                      Monitor& monitor) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    fail(ErrorKind::file, path.string(), ": no such file or folder");
  if (std::filesystem::is_directory(path, ignored)) {
    if (options.type)
      fail(ErrorKind::usage, path.string(),
           ": is a folder, whose tensors have types; only a GGUF file's are chosen");
    return model_of_folder(path);
  }
  constexpr std::size_t kHeadBytes = 64;
  const auto head = read_head(path, kHeadBytes);
  if (!GgufReader::accepts(
          {path, false, {reinterpret_cast<const char*>(head.data()), head.size()}}))
    fail(ErrorKind::unsupported, path.string(),
         ": is no folder and no GGUF file; expected one of them");
  return restore_model(std::make_shared<GgufReader>(path), options, monitor);
}

}  // namespace lq
