#include "tests/support/vocabularies.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "lib/io/text_file.h"
#include "tests/support/places.h"

namespace lq::test {
namespace {

const std::string kFolder = lq::test::testdata("tokenizers/");

Value to_value(const std::string& key, const Json& json) {
  if (json.is_string()) return Value::of_string(json);
  if (json.is_boolean()) return Value::of_bool(json);
  if (json.is_number_integer()) return Value::of_u32(json);
  if (!json.empty() && json[0].is_string()) return Value::of_strings(json);
  if (key == "tokenizer.ggml.scores") return Value::of_f32s(json);
  return Value::of_i32s(json);
}

}  // namespace

Metadata read_vocabulary(const std::string& name) {
  const std::string path = kFolder + name + ".vocab.json.zst";
  Metadata metadata(path);
  const Json object = parse_json(read_text(path), path);
  for (const auto& [key, value] : object.items()) metadata.set(key, to_value(key, value));
  return metadata;
}

std::vector<Json> read_json_lines(const std::string& file) {
  const std::string text = read_text(kFolder + file);
  std::vector<Json> values;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = rest.find('\n');
    if (const auto line = rest.substr(0, end); !line.empty())
      values.push_back(parse_json(line, file));
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  }
  return values;
}

std::vector<std::string> read_awkward_texts() {
  std::vector<std::string> texts;
  for (const Json& text : read_json_lines("strings.jsonl.zst")) texts.push_back(text);
  return texts;
}

}  // namespace lq::test
