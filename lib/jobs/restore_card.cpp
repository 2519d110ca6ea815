// The model card: front matter that conversion reads back into the general.* keys.
#include <nlohmann/json.hpp>

#include "lib/jobs/convert_general.h"
#include "lib/jobs/restore_config.h"

namespace lq {
namespace {

/// JSON, which front matter takes as it is.
std::string front_matter_line(const std::string& name, const Json& value) {
  return name + ": " + value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Identifiers or addresses of the models or data sets that this one was made of.
Json sources_under(const Metadata& metadata, const std::string& prefix) {
  constexpr std::int64_t kMost = 1000;
  constexpr std::string_view kHost = "https://huggingface.co/";
  Json list = Json::array();
  const auto count = metadata.find_integer(prefix + "count", 0, kMost);
  for (std::int64_t i = 0; i < count.value_or(0); ++i) {
    auto address = metadata.find_string(prefix + std::to_string(i) + ".repo_url");
    if (!address) continue;
    list.push_back(address->starts_with(kHost) ? address->substr(kHost.size()) : *address);
  }
  return list;
}

}  // namespace

std::optional<ConfigFile> restored_card(const Metadata& metadata) {
  std::string lines;
  for (const TextField& field : text_fields())
    if (field.card[0])
      if (const auto text = metadata.find_string(std::string("general.") + field.key))
        lines += front_matter_line(field.card[0], *text);
  for (const auto& [key, name] :
       {std::pair("general.tags", "tags"), std::pair("general.languages", "language")})
    if (const auto list = metadata.find_strings(key)) lines += front_matter_line(name, *list);
  for (const auto& [prefix, name] :
       {std::pair("general.base_model.", "base_model"), std::pair("general.dataset.", "datasets")})
    if (const auto list = sources_under(metadata, prefix); !list.empty())
      lines += front_matter_line(name, list);
  if (lines.empty()) return std::nullopt;
  return ConfigFile{"README.md", "---\n" + lines + "---\n"};
}

}  // namespace lq
