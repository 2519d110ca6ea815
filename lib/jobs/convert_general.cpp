#include "lib/jobs/convert_general.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/io/text_file.h"
#include "lib/jobs/convert_front_matter.h"

namespace lq {
namespace {

/// In the order in which they are written.
constexpr TextField kTextFields[] = {
    {"name", {"name", "model_name"}},
    {"author", {"author", "model_author", "model_creator"}},
    {"version", {"version", "model_version"}},
    {"organization", {"organization", "model_organization"}},
    {"finetune", {"finetune", "model_finetune"}},
    {"basename", {"basename", "model_basename", "model_type"}},
    {"description", {"description", "model_description"}},
    {"quantized_by", {}},
    {"size_label", {"size_label", "model_size_label"}},
    {"license", {"license"}},
    {"license.name", {"license_name"}},
    {"license.link", {"license_link"}},
    {"url", {}},
    {"doi", {}},
    {"uuid", {}},
    {"repo_url", {}},
    {"source.url", {"url", "model_url"}},
    {"source.doi", {"doi", "model_doi"}},
    {"source.uuid", {"uuid", "model_uuid"}},
    {"source.repo_url", {"repo_url", "model_repo_url"}},
};

using Kind = SamplingField::Kind;
constexpr SamplingField kSampling[] = {
    {"sequence", "sequence", Kind::text},
    {"top_k", "top_k", Kind::integer},
    {"top_p", "top_p", Kind::real},
    {"min_p", "min_p", Kind::real},
    {"xtc_probability", "xtc_probability", Kind::real},
    {"xtc_threshold", "xtc_threshold", Kind::real},
    {"temp", "temperature", Kind::real},
    {"penalty_last_n", "penalty_last_n", Kind::integer},
    {"penalty_repeat", "penalty_repeat", Kind::real},
    {"mirostat", "mirostat", Kind::integer},
    {"mirostat_tau", "mirostat_tau", Kind::real},
    {"mirostat_eta", "mirostat_eta", Kind::real},
};
/// Members of one entry of base_model or dataset, in the order in which they are written.
constexpr const char* kEntryFields[] = {"name", "author", "version", "organization", "description",
                                        "url",  "doi",    "uuid",    "repo_url"};

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) {
    std::string out;
    for (const auto& item : value) out += (out.empty() ? "" : ",") + text_of(item);
    return out;
  }
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json load_optional(const HfFolder& folder, const std::string& file, Monitor& monitor) {
  try {
    if (const auto* value = folder.json(file); value && value->is_object()) return *value;
  } catch (const Error& e) {
    monitor.warning(std::string(e.what()) + "; the file is ignored");
  }
  return Json::object();
}

class General {
 public:
  General(const HfFolder& folder, const GeneralOptions& options, Metadata& metadata,
          Monitor& monitor)
      : folder_(folder), options_(options), metadata_(metadata), monitor_(monitor) {
    if (!options.overrides.empty()) {
      overrides_ = parse_json(read_text(options.overrides), options.overrides.string());
      if (!overrides_.is_object())
        fail(ErrorKind::input, options.overrides.string(), ": found a JSON ",
             overrides_.type_name(), "; expected an object of general.* keys");
    }
    load_card();
  }

  FileNameParts write() {
    metadata_.set("general.type", Value::of_string("model"));
    collect();
    write_sampling();
    for (const auto& field : kTextFields)
      if (const auto it = text_.find(field.key); it != text_.end() && !it->second.empty())
        metadata_.set(std::string("general.") + field.key, Value::of_string(it->second));
    write_entries("base_models", {"base_model", "base_models", "base_model_sources"},
                  "general.base_model.");
    write_entries("datasets", {"datasets", "dataset", "dataset_sources"}, "general.dataset.");
    write_list("tags", {"tags", "pipeline_tag"});
    write_list("languages", {"languages", "language"});
    const auto part = [&](const char* key) {
      const auto it = text_.find(key);
      return it == text_.end() ? std::nullopt : std::optional(it->second);
    };
    return {part("name"),
            part("basename"),
            part("size_label"),
            part("finetune"),
            part("version"),
            "",
            ""};
  }

 private:
  void load_card() {
    if (!folder_.has("README.md")) return;
    const auto name = folder_.file_name("README.md");
    try {
      card_ = parse_front_matter(read_text(folder_.path() / "README.md"), name);
    } catch (const Error& e) {
      monitor_.warning(std::string(e.what()) + "; the front matter is ignored");
    }
  }

  /// Null when the card does not have it.
  const Json* card(const char* key) const {
    const auto it = card_.find(key);
    return it == card_.end() || it->is_null() ? nullptr : &*it;
  }

  void use_id(const std::string& id) {
    const auto parts = parse_model_id(id, options_.parameters);
    const auto use = [&](const char* key, const std::optional<std::string>& value, bool title) {
      if (value && !text_.contains(key)) text_[key] = title ? title_of(*value) : *value;
    };
    use("name", parts.name, true);
    use("organization", parts.organization, true);
    use("basename", parts.basename, false);
    use("finetune", parts.finetune, false);
    use("version", parts.version, false);
    use("size_label", parts.size_label, false);
  }

  void collect() {
    for (const auto& field : kTextFields)
      for (const auto* key : field.card)
        if (const auto* value = key ? card(key) : nullptr; value && !text_.contains(field.key))
          text_[field.key] = text_of(*value);
    if (const auto id = folder_.object("config.json").find("_name_or_path"); id && id->is_string())
      if (const auto text = id->get<std::string>(); std::count(text.begin(), text.end(), '/') <= 1)
        use_id(text);
    use_id(folder_.folder_name());
    for (const auto& [key, value] : overrides_.items()) override_text(key, value);
    if (!options_.name.empty()) text_["name"] = options_.name;
    if (!text_.contains("name")) text_["name"] = folder_.folder_name();
    if (!text_.contains("size_label") && options_.parameters > 0)
      text_["size_label"] = size_label(options_.parameters);
  }

  void override_text(const std::string& key, const Json& value) {
    constexpr std::string_view kPrefix = "general.";
    const auto name = key.starts_with(kPrefix) ? key.substr(kPrefix.size()) : std::string();
    if (std::any_of(std::begin(kTextFields), std::end(kTextFields),
                    [&](const auto& f) { return name == f.key; })) {
      if (value.is_null())
        text_.erase(name);
      else
        text_[name] = text_of(value);
      return;
    }
    const bool known =
        name == "base_models" || name == "datasets" || name == "tags" || name == "languages" ||
        std::any_of(std::begin(kSampling), std::end(kSampling),
                    [&](const auto& f) { return name == std::string("sampling.") + f.key; });
    if (!known)
      monitor_.warning(options_.overrides.string() + ": " + key +
                       " is not a key that can be set this way; it is ignored");
  }

  void write_sampling() {
    const auto config = load_optional(folder_, "generation_config.json", monitor_);
    for (const auto& field : kSampling) {
      const auto key = std::string("general.sampling.") + field.key;
      const auto chosen = overrides_.find(key);
      const auto given = config.find(field.hf_name);
      const Json* value = chosen != overrides_.end() ? &*chosen
                          : given != config.end()    ? &*given
                                                     : nullptr;
      if (value && !value->is_null()) write_sampling_value(key, field.kind, *value);
    }
  }

  void write_sampling_value(const std::string& key, Kind kind, const Json& value) {
    if (kind == Kind::text && value.is_string()) {
      metadata_.set(key, Value::of_string(value.get<std::string>()));
    } else if (kind == Kind::real && value.is_number()) {
      metadata_.set(key, Value::of_f32(value.get<double>()));
    } else if (kind == Kind::integer && value.is_number_integer() && value >= INT32_MIN &&
               value <= INT32_MAX) {
      metadata_.set(key, Value::of_i32(value.get<std::int32_t>()));
    } else {
      monitor_.warning(folder_.file_name("generation_config.json") + ": the value of " + key +
                       " has a wrong type; it is ignored");
    }
  }

  /// Entry of base_model or dataset from an identifier or an address.
  Json entry_of(const Json& item) const {
    if (item.is_object()) return item;
    auto entry = Json::object();
    if (!item.is_string()) return entry;
    auto id = item.get<std::string>();
    const bool address =
        id.starts_with("http://") || id.starts_with("https://") || id.starts_with("ssh://");
    if (address) {
      entry["repo_url"] = id;
      const auto scheme = id.find("://") + 3;
      constexpr std::string_view kHost = "huggingface.co/";
      if (id.compare(scheme, kHost.size(), kHost) != 0 || id.starts_with("ssh")) return entry;
      id.erase(0, scheme + kHost.size());
      const auto slash = id.find('/');
      if (slash == 0 || slash == id.npos || slash + 1 == id.size() ||
          id.find('/', slash + 1) != id.npos)
        return entry;
    }
    const auto parts = parse_model_id(id, options_.parameters);
    if (parts.name) entry["name"] = title_of(*parts.name);
    if (parts.organization) entry["organization"] = title_of(*parts.organization);
    if (parts.version) entry["version"] = *parts.version;
    if (!address && parts.organization && parts.name)
      entry["repo_url"] = "https://huggingface.co/" + *parts.organization + "/" + *parts.name;
    return entry;
  }

  void write_entries(const char* override_key, std::initializer_list<const char*> card_keys,
                     const std::string& prefix) {
    const Json* source = nullptr;
    for (const auto* key : card_keys)
      if (!source && card_.contains(key)) source = &card_[key];
    const auto chosen = overrides_.find(std::string("general.") + override_key);
    if (chosen != overrides_.end()) source = chosen->is_null() ? nullptr : &*chosen;
    if (!source) return;
    std::vector<Json> entries;
    if (source->is_array())
      for (const auto& item : *source) entries.push_back(entry_of(item));
    else if (source->is_string())
      entries.push_back(entry_of(*source));
    metadata_.set(prefix + "count", Value::of_u32(static_cast<std::uint32_t>(entries.size())));
    for (std::size_t i = 0; i < entries.size(); ++i)
      for (const auto* field : kEntryFields)
        if (const auto it = entries[i].find(field); it != entries[i].end() && !it->is_null())
          if (const auto text = text_of(*it); !text.empty())
            metadata_.set(prefix + std::to_string(i) + "." + field, Value::of_string(text));
  }

  void write_list(const char* name, std::initializer_list<const char*> card_keys) {
    std::vector<std::string> values;
    const auto append = [&](const Json& value) {
      if (value.is_string()) values.push_back(value.get<std::string>());
      if (value.is_array())
        for (const auto& item : value) values.push_back(text_of(item));
    };
    const auto key = std::string("general.") + name;
    if (const auto chosen = overrides_.find(key); chosen != overrides_.end())
      append(*chosen);
    else
      for (const auto* card_key : card_keys)
        if (const auto* value = card(card_key)) append(*value);
    if (!values.empty()) metadata_.set(key, Value::of_strings(std::move(values)));
  }

  const HfFolder& folder_;
  const GeneralOptions& options_;
  Metadata& metadata_;
  Monitor& monitor_;
  Json overrides_ = Json::object(), card_ = Json::object();
  std::map<std::string, std::string> text_;
};

}  // namespace

std::span<const TextField> text_fields() { return kTextFields; }
std::span<const SamplingField> sampling_fields() { return kSampling; }

FileNameParts add_general(const HfFolder& folder, const GeneralOptions& options, Metadata& metadata,
                          Monitor& monitor) {
  return General(folder, options, metadata, monitor).write();
}

}  // namespace lq
