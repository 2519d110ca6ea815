#pragma once
// A quantized folder made in memory, tensor by tensor: layouts that other packages write.
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/jobs/quantized_folder.h"
#include "lib/jobs/stored_scheme_parser.h"

namespace lq::test {

class MemoryFolder {
 public:
  /// `config` is the quantization_config.
  explicit MemoryFolder(const Json& config)
      : config_({{"quantization_config", Json::parse(config.dump())}}) {}

  template <class T>
  MemoryFolder& add(const std::string& name, const char* storage, std::vector<std::uint64_t> shape,
                    const std::vector<T>& values) {
    const std::size_t begin = data_.size();
    data_.resize(begin + values.size() * sizeof(T));
    std::memcpy(data_.data() + begin, values.data(), values.size() * sizeof(T));
    header_[name] = {{"dtype", storage}, {"shape", shape}, {"data_offsets", {begin, data_.size()}}};
    return *this;
  }

  /// The folder, which refers to this.
  QuantizedFolder open(Nvfp4As nvfp4 = Nvfp4As::with_divisor) {
    const std::string text = header_.dump();
    const std::uint64_t length = text.size();
    bytes_.assign(reinterpret_cast<const char*>(&length), sizeof length);
    bytes_ += text;
    bytes_.append(data_.begin(), data_.end());
    const auto schemes =
        read_stored_schemes(StoredConfigs{JsonObject(&config_, "config.json"), {}, {}});
    return {std::make_unique<SafetensorsReader>(std::as_bytes(std::span(bytes_)), "memory"),
            schemes.value(), nvfp4};
  }

 private:
  Json config_, header_ = Json::object();
  std::vector<char> data_;
  std::string bytes_;
};

/// The values of a tensor.
inline std::vector<float> values_in(const TensorSource& source, const std::string& name) {
  const std::size_t index = source.find(name).value();
  const TensorInfo& info = source.tensors()[index];
  std::vector<float> values(info.elements());
  traits(info.type).decode(source.data(index).data(), values.data(), values.size());
  source.release(index);
  return values;
}

}  // namespace lq::test
