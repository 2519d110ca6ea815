#include "lib/format/hf_directory.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "lib/base/error.h"
#include "lib/base/json.h"
#include "lib/base/quote.h"
#include "lib/io/text_file.h"

namespace lq {
namespace {

bool starts_with(std::string_view text, std::string_view part) {
  return text.substr(0, part.size()) == part;
}
bool ends_with(std::string_view text, std::string_view part) {
  return text.size() >= part.size() && text.substr(text.size() - part.size()) == part;
}

/// Names of all files of a folder, sorted.
std::vector<std::string> file_names(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    names.push_back(entry->path().filename().string());
  if (error)
    fail(ErrorKind::file, directory.string(), ": cannot read the folder: ", error.message());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> matching(const std::vector<std::string>& names, std::string_view prefix,
                                  std::string_view suffix) {
  std::vector<std::string> found;
  std::copy_if(names.begin(), names.end(), std::back_inserter(found), [&](const auto& name) {
    return starts_with(name, prefix) && ends_with(name, suffix);
  });
  return found;
}

/// Says what a folder without safetensors shards is and what to do.
[[noreturn]] void fail_no_shards(const std::string& directory,
                                 const std::vector<std::string>& names) {
  const auto first = [&](std::string_view prefix, std::string_view suffix) {
    const auto found = matching(names, prefix, suffix);
    return found.empty() ? std::string() : found.front();
  };
  if (const auto gguf = first("", ".gguf"); !gguf.empty())
    fail(ErrorKind::unsupported, directory, ": is a folder with GGUF files; give the file itself, ",
         quote(gguf));
  if (!first("adapter_model", "").empty())
    fail(ErrorKind::unsupported, directory,
         ": holds an adapter without its base model; merge it into the base model first");
  for (const char* suffix : {".bin", ".pt", ".pth"})
    if (const auto file = first("", suffix); !file.empty())
      fail(ErrorKind::unsupported, directory, ": holds PyTorch files (", quote(file),
           "), which can run code when they are read; save the model with safetensors, e.g. by "
           "model.save_pretrained(folder, safe_serialization=True)");
  fail(ErrorKind::unsupported, directory,
       ": is a folder without a model; expected model*.safetensors");
}

}  // namespace

HfDirectory::HfDirectory(const std::filesystem::path& directory)
    : SafetensorsReader(directory.string()), directory_(directory) {
  constexpr std::string_view kSuffix = ".safetensors";
  const auto names = file_names(directory);
  std::string prefix = "model";
  auto shards = matching(names, prefix, kSuffix);
  if (shards.empty()) {  // Mistral's own format
    prefix = "consolidated";
    shards = matching(names, prefix, kSuffix);
  }
  if (shards.empty()) fail_no_shards(name_, names);
  for (const std::string& shard : shards) add_file(directory / shard);
  index_tensors(tensors_);
  if (const auto index = find_file(prefix + ".safetensors.index.json")) check_index(*index);
}

void HfDirectory::check_index(const std::filesystem::path& index) const {
  const Json json = parse_json(read_text(index), index.string());
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object())
    fail(ErrorKind::input, index.string(), ": has no object weight_map");
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string())
      fail(ErrorKind::input, index.string(), ": weight_map of ", quote(tensor),
           " is not a file name");
    if (find(tensor)) continue;
    const auto& file_name = file.get_ref<const std::string&>();
    fail(ErrorKind::input, name_, ": tensor ", quote(tensor), " is missing; the index says that ",
         quote(file_name), " holds it",
         find_file(file_name) ? "" : ", and that file is missing too: download it again");
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    if (!map->contains(tensors_[i].name))
      fail(ErrorKind::input, file_of(i).string(), ": tensor ", quote(tensors_[i].name),
           " is not listed in ", quote(index.filename().string()),
           "; does the file belong to another model");
}

std::optional<std::filesystem::path> HfDirectory::find_file(std::string_view file_name) const {
  const auto path = directory_ / file_name;
  std::error_code ignored;
  if (file_name.empty() || !std::filesystem::exists(path, ignored)) return std::nullopt;
  return path;
}

std::filesystem::path HfDirectory::file(std::string_view file_name) const {
  if (auto path = find_file(file_name)) return *std::move(path);
  fail(ErrorKind::file, (directory_ / file_name).string(),
       ": is missing; it belongs to the model's folder");
}

}  // namespace lq
