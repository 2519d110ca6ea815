#include "tests/support/toys.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/io/text_file.h"
#include "tests/support/places.h"

namespace lq::test {

namespace fs = std::filesystem;

fs::path checkpoint(const std::string& name) {
  const fs::path models = testdata("models");
  return fs::exists(models / "toys" / name) ? models / "toys" / name : models / name;
}

CheckpointCopy::CheckpointCopy(const std::string& name)
    : path_(directory_ / fs::path(name).filename().string()) {
  fs::create_directory(path_);
  for (const auto& file : fs::directory_iterator(checkpoint(name))) {
    fs::copy_file(file.path(), path_ / file.path().filename());
    fs::permissions(path_ / file.path().filename(), fs::perms::owner_write, fs::perm_options::add);
  }
}

void CheckpointCopy::change(const char* file, const std::function<void(Json&)>& edit) const {
  auto value = Json::parse(read_text(path_ / file));
  edit(value);
  write_text(path_ / file, value.dump(), Existing::replace);
}

void CheckpointCopy::change_tensors(const std::function<void(Json&)>& edit) const {
  const auto content = read_text(path_ / "model.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, content.data(), sizeof length);
  auto header = Json::parse(content.substr(sizeof length, length));
  edit(header);
  const auto text = header.dump();
  const std::uint64_t new_length = text.size();
  std::string out(sizeof new_length, '\0');
  std::memcpy(out.data(), &new_length, sizeof new_length);
  write_text(path_ / "model.safetensors", out + text + content.substr(sizeof length + length),
             Existing::replace);
}

void CheckpointCopy::overwrite(const std::string& tensor, std::size_t offset,
                               std::span<const std::byte> bytes) const {
  auto content = read_text(path_ / "model.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, content.data(), sizeof length);
  const auto header = Json::parse(content.substr(sizeof length, length));
  const auto begin = header.at(tensor).at("data_offsets").at(0).get<std::size_t>();
  std::memcpy(content.data() + sizeof length + length + begin + offset, bytes.data(), bytes.size());
  write_text(path_ / "model.safetensors", content, Existing::replace);
}

}  // namespace lq::test
