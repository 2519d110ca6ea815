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

CheckpointCopy::CheckpointCopy(const std::string& name) : path_(directory_ / name) {
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

}  // namespace lq::test
