#pragma once
// The small files of a Hugging Face folder, and typed look-ups in their JSON objects.
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/json.h"

namespace lq {

/// A JSON object that nobody has checked. A missing member and a null one give nothing; a member of
/// another type is Error(input) that names the file, the member, what it is and what was expected.
/// Refers to the value: it has to outlive this.
class JsonObject {
 public:
  JsonObject() = default;  ///< no members
  JsonObject(const Json* object, std::string where);

  bool empty() const { return object_ == nullptr; }
  const std::string& where() const { return where_; }
  /// True also for a null member.
  bool has(std::string_view key) const;
  const Json* find(std::string_view key) const;
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t least,
                                      std::int64_t most) const;
  std::optional<double> number(std::string_view key) const;  ///< finite
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  /// Empty when missing.
  JsonObject object(std::string_view key) const;
  /// Null when missing.
  const Json* list(std::string_view key) const;

 private:
  [[noreturn]] void wrong_type(std::string_view key, const Json& found, const char* expected) const;

  const Json* object_ = nullptr;
  std::string where_;
};

/// Files are read when they are first asked for.
class HfFolder {
 public:
  /// `empty`: as if nothing were in it, for a file of it that is converted alone.
  explicit HfFolder(std::filesystem::path path, bool empty = false)
      : path_(std::move(path)), empty_(empty) {}

  const std::filesystem::path& path() const { return path_; }
  /// The folder's own name, also for "." or a path that ends in a slash.
  std::string folder_name() const;
  bool has(const std::string& file) const;
  std::string file_name(const std::string& file) const { return (path_ / file).string(); }
  /// Null when there is no such file. Throws Error(input) for broken JSON.
  const Json* json(const std::string& file) const;
  /// Empty when there is no such file. Throws Error(input) when it is not an object.
  JsonObject object(const std::string& file) const;
  /// config.json with the members of text_config over its own.
  JsonObject config() const;

 private:
  std::filesystem::path path_;
  bool empty_;
  mutable std::map<std::string, std::unique_ptr<Json>> files_;
};

}  // namespace lq
