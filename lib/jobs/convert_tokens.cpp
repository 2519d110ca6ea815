#include "lib/jobs/convert_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/text/unicode.h"

namespace lq {
namespace {

constexpr int kMostTokenIds = 1 << 24;
constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581, a space in pieces

bool is_token_id(const Json& value) {
  return value.is_number_unsigned() && value.get<std::uint64_t>() < kMostTokenIds;
}

}  // namespace

bool looks_special(std::string_view text) {
  for (const std::string_view known : {"<pad>", "<mask>", "<2mass>", "[@BOS@]"})
    if (text == known) return true;
  constexpr std::string_view kBar = "\xEF\xBD\x9C";  // U+FF5C
  const auto between = [&](std::string_view begin, std::string_view end) {
    return text.starts_with(begin) && text.ends_with(end);
  };
  return between("<|", "|>") || between("<" + std::string(kBar), std::string(kBar) + ">") ||
         between("<unused", ">");
}

std::string with_spaces(std::string text) {
  for (auto at = text.find(kMetaspace); at != text.npos; at = text.find(kMetaspace, at + 1))
    text.replace(at, kMetaspace.size(), " ");
  return text;
}

std::int64_t token_id(const Json& value, const std::string& where) {
  if (!is_token_id(value))
    fail(ErrorKind::input, where, ": id is ",
         quote(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60),
         "; expected an integer from 0 to ", kMostTokenIds - 1);
  return value.get<std::int64_t>();
}

std::map<std::int64_t, AddedToken> declared_tokens(const HfFolder& folder) {
  std::map<std::int64_t, AddedToken> out;
  const auto list = folder.object("tokenizer_config.json").object("added_tokens_decoder");
  if (list.empty()) return out;
  for (const auto& [key, value] :
       folder.json("tokenizer_config.json")->at("added_tokens_decoder").items()) {
    const auto where = list.where() + ": " + quote(key, 40);
    if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != key.npos)
      fail(ErrorKind::input, where, ": expected a token id");
    const JsonObject token(&value, where);
    const auto text = token.string("content");
    if (!text) fail(ErrorKind::input, where, ": content is missing");
    out[std::stoll(key)] = {*text, token.boolean("special").value_or(false),
                            token.boolean("normalized").value_or(true)};
  }
  return out;
}

std::map<std::int64_t, AddedToken> added_tokens(const JsonObject& tokenizer) {
  std::map<std::int64_t, AddedToken> out;
  if (const auto* list = tokenizer.list("added_tokens"))
    for (std::size_t i = 0; i < list->size(); ++i) {
      const auto where = tokenizer.where() + ": added_tokens[" + std::to_string(i) + "]";
      const JsonObject token(&(*list)[i], where);
      const auto text = token.string("content");
      const auto* id = token.find("id");
      if (!text || !id) fail(ErrorKind::input, where, ": expected content and id");
      out[token_id(*id, where)] = {*text, token.boolean("special").value_or(false),
                                   token.boolean("normalized").value_or(true)};
    }
  return out;
}

std::set<std::string> named_specials(const HfFolder& folder,
                                     std::initializer_list<const char*> defaults) {
  constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
  std::set<std::string> out;
  const auto config = folder.object("tokenizer_config.json");
  const auto add = [&](const Json* value) {
    if (value && value->is_object()) {
      const auto it = value->find("content");
      value = it == value->end() ? nullptr : &*it;
    }
    if (value && value->is_string()) out.insert(value->get<std::string>());
  };
  const auto* fallback = defaults.begin();
  for (const auto* name : kNames) {
    add(config.find(name));
    if (fallback != defaults.end() && !config.has(name)) out.insert(*fallback);
    if (fallback != defaults.end()) ++fallback;
  }
  if (const auto* more = config.find("additional_special_tokens"); more && more->is_array())
    for (const auto& value : *more) add(&value);
  return out;
}

std::vector<std::string> base_vocabulary(const Json& vocab, const std::string& where,
                                         std::vector<bool>& present) {
  if (!vocab.is_object() || vocab.empty())
    fail(ErrorKind::input, where, ": expected an object of token texts and ids");
  std::int64_t largest = 0;
  for (const auto& [text, id] : vocab.items()) {
    if (!is_token_id(id)) token_id(id, where + ": " + quote(text, 60));
    largest = std::max(largest, id.get<std::int64_t>());
  }
  if (largest >= static_cast<std::int64_t>(4 * vocab.size() + 1024))
    fail(ErrorKind::input, where, ": the largest id is ", largest, " among ", vocab.size(),
         " tokens; expected ids without large gaps");
  std::vector<std::string> texts(static_cast<std::size_t>(largest) + 1);
  present.assign(texts.size(), false);
  for (const auto& [text, id] : vocab.items()) {
    const auto i = id.get<std::size_t>();
    if (present[i])
      fail(ErrorKind::input, where, ": ", quote(texts[i], 60), " and ", quote(text, 60),
           " have the same id ", i);
    texts[i] = text;
    present[i] = true;
  }
  return texts;
}

std::string through_byte_level(const std::string& text) {
  std::string bytes;
  for (std::size_t at = 0; at < text.size();) {
    const auto c = utf8_at(text, at);
    if (c.bytes == 0) return text;
    at += static_cast<std::size_t>(c.bytes);
    const auto p = c.code_point;
    const bool itself = (p >= 33 && p <= 126) || (p >= 161 && p <= 172) || (p >= 174 && p <= 255);
    if (!itself && (p < 256 || p > 323)) return text;
    // 256 + n is the n-th of the bytes 0-32, 127-160, 173.
    const auto n = p - 256;
    const auto byte = itself ? p : n <= 32 ? n : n <= 66 ? n - 33 + 127 : 173;
    bytes += static_cast<char>(byte);
  }
  Utf8Assembler assembler;
  auto out = assembler.feed(bytes);
  return out + assembler.flush();
}

}  // namespace lq
