#pragma once
// A model in memory, made tensor by tensor.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "lib/format/tensor_source.h"

namespace lq::test {

class TinySource : public TensorSource {
 public:
  explicit TinySource(Metadata metadata = Metadata("memory")) : metadata_(std::move(metadata)) {}

  /// Adds a tensor with random values in [-1, 1), rounded to its type.
  void add_random(const TensorInfo& info) {
    Random random(infos_.size() + 1);
    std::vector<float> values(info.elements());
    for (float& value : values) value = static_cast<float>(random.uniform() * 2 - 1);
    std::vector<std::byte> stored(info.bytes());
    const std::uint64_t row = info.row_length();
    for (std::uint64_t i = 0; i < info.rows(); ++i)
      traits(info.type).encode(values.data() + i * row, nullptr,
                               stored.data() + i * info.row_bytes(), row);
    infos_.push_back(info);
    data_.push_back(std::move(stored));
  }
  /// Overwrites one value of a tensor of a float type.
  void set(std::size_t index, std::size_t element, float value) {
    const DTypeTraits& type = traits(infos_[index].type);
    type.encode(&value, nullptr, data_[index].data() + element * type.bytes, 1);
  }
  /// The values of a tensor.
  std::vector<float> values(std::size_t index) const {
    std::vector<float> result(infos_[index].elements());
    traits(infos_[index].type).decode(data_[index].data(), result.data(), result.size());
    return result;
  }
  /// The tensor stored as another type, row by row.
  std::vector<std::byte> encoded(std::size_t index, DType type) const {
    if (type == infos_[index].type) return data_[index];
    const std::vector<float> all = values(index);
    const std::uint64_t row = infos_[index].row_length();
    const std::size_t row_bytes = traits(type).row_bytes(row);
    std::vector<std::byte> result(row_bytes * infos_[index].rows());
    for (std::uint64_t i = 0; i < infos_[index].rows(); ++i)
      traits(type).encode(all.data() + i * row, nullptr, result.data() + i * row_bytes, row);
    return result;
  }

  const std::string& name() const override { return metadata_.file_name(); }
  std::string_view format() const override { return "memory"; }
  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  std::span<const std::byte> data(std::size_t index) const override { return data_[index]; }
  void release(std::size_t) const override {}
  std::vector<std::filesystem::path> files() const override { return {}; }

 private:
  Metadata metadata_;
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<std::byte>> data_;
};

}  // namespace lq::test
