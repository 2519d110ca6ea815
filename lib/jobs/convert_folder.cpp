#include "lib/jobs/convert_folder.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/io/text_file.h"

namespace lq {

JsonObject::JsonObject(const Json* object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (object_ && !object_->is_object())
    fail(ErrorKind::input, where_, ": found a JSON ", object_->type_name(), "; expected an object");
}

bool JsonObject::has(std::string_view key) const { return object_ && object_->contains(key); }

const Json* JsonObject::find(std::string_view key) const {
  if (!object_) return nullptr;
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

void JsonObject::wrong_type(std::string_view key, const Json& found, const char* expected) const {
  const auto text = found.is_structured()
                        ? std::string("a JSON ") + found.type_name()
                        : quote(found.dump(-1, ' ', false, Json::error_handler_t::replace));
  fail(ErrorKind::input, where_, ": ", key, " is ", text, "; expected ", expected);
}

std::optional<std::int64_t> JsonObject::integer(std::string_view key, std::int64_t least,
                                                std::int64_t most) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_number_integer()) wrong_type(key, *value, "an integer");
  const bool huge = value->is_number_unsigned() &&
                    value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
  const auto number = huge ? INT64_MAX : value->get<std::int64_t>();
  if (number < least || number > most)
    fail(ErrorKind::input, where_, ": ", key, " is ", value->dump(), "; expected an integer from ",
         least, " to ", most);
  return number;
}

std::optional<double> JsonObject::number(std::string_view key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_number()) wrong_type(key, *value, "a number");
  const auto number = value->get<double>();
  if (!std::isfinite(number)) wrong_type(key, *value, "a finite number");
  return number;
}

std::optional<bool> JsonObject::boolean(std::string_view key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) wrong_type(key, *value, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonObject::string(std::string_view key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) wrong_type(key, *value, "a string");
  return value->get<std::string>();
}

JsonObject JsonObject::object(std::string_view key) const {
  const auto* value = find(key);
  if (!value) return {};
  if (!value->is_object()) wrong_type(key, *value, "an object");
  return {value, where_ + ": " + std::string(key)};
}

const Json* JsonObject::list(std::string_view key) const {
  const auto* value = find(key);
  if (value && !value->is_array()) wrong_type(key, *value, "a list");
  return value;
}

std::string HfFolder::folder_name() const {
  std::error_code ignored;
  auto absolute = std::filesystem::weakly_canonical(path_, ignored);
  if (ignored || absolute.empty()) absolute = path_;
  return absolute.has_filename() ? absolute.filename().string()
                                 : absolute.parent_path().filename().string();
}

bool HfFolder::has(const std::string& file) const {
  std::error_code ignored;
  return !empty_ && std::filesystem::is_regular_file(path_ / file, ignored);
}

const Json* HfFolder::json(const std::string& file) const {
  auto& slot = files_[file];
  if (!slot && has(file))
    slot = std::make_unique<Json>(parse_json(read_text(path_ / file), file_name(file)));
  return slot.get();
}

JsonObject HfFolder::object(const std::string& file) const {
  const auto* value = json(file);
  return value ? JsonObject(value, file_name(file)) : JsonObject();
}

JsonObject HfFolder::config() const {
  const auto whole = object("config.json");
  const auto* text = whole.find("text_config");
  if (!text || !text->is_object()) return whole;
  auto& merged = files_["config.json with text_config"];
  if (!merged) {
    merged = std::make_unique<Json>(*json("config.json"));
    merged->update(*text);
  }
  return {merged.get(), file_name("config.json")};
}

}  // namespace lq
