#pragma once
// A model as a Hugging Face folder holds it, wherever it comes from: such a folder, or a GGUF file
// that is turned back into one.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/monitor.h"
#include "lib/jobs/plan.h"
#include "lib/jobs/quantization_config.h"

namespace lq {

/// Tensors under their Hugging Face names, the configuration, and what else belongs to the folder.
struct HfModel {
  struct Tensor {
    PlannedTensor made;     ///< `output`: the tensor as the folder has it
    std::string stored_as;  ///< storage name of safetensors files: "BF16", "F8_E4M3"
    bool foreign = false;   ///< that storage has no DType: the type is I8 and says nothing
    std::uint64_t bytes = 0;
    std::filesystem::path file;  ///< that it is read from
  };

  std::string name;  ///< path, for messages
  std::shared_ptr<const TensorSource> source;
  std::vector<Tensor> tensors;
  std::string config;                         ///< text of config.json
  std::vector<std::filesystem::path> copied;  ///< other files, as they are
  std::vector<ConfigFile> made_files;         ///< other files that are made: name and content

  const TensorInfo& info(std::size_t index) const { return tensors[index].made.output; }
  /// Bytes [offset, offset + into.size()) of a tensor, in the type that info() says. Safe from
  /// several threads. Throws Error(file), Error(input) for values that this type cannot hold.
  void read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const;
};

struct HfModelOptions {
  /// Of a GGUF file: the type of the model, F32, F16 or BF16; nothing: what most of it is stored
  /// in, BF16 when that is another.
  std::optional<DType> type = {};
};

/// Opens a folder or a GGUF file. Throws Error(file | input | unsupported), Error(usage) for
/// options that do not go with the input.
HfModel open_hf_model(const std::filesystem::path& path, const HfModelOptions& options,
                      Monitor& monitor);

}  // namespace lq
