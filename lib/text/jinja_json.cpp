#include <algorithm>
#include <cstdio>

#include "lib/text/jinja_library.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const Arguments& arguments) : runtime_(runtime) {
    const Values options = bind(runtime, "tojson", arguments,
                                {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
    ascii_ = truth(options[0]);
    sort_ = truth(options[3]);
    const Value& indent = options[1];
    lines_ = !indent.is(Kind::undefined) && !indent.is(Kind::none);
    if (lines_ && indent.is(Kind::text)) {
      indent_ = indent.text();
    } else if (lines_) {
      const auto width = std::max<std::int64_t>(0, integer_argument(runtime, indent, 0));
      runtime.reserve(static_cast<std::size_t>(width));
      indent_.assign(static_cast<std::size_t>(width), ' ');
    }
    if (lines_) comma_ = ",";
    if (truth(options[2])) {
      const Values parts = items_of(runtime, options[2]);
      if (parts.size() != 2 || !parts[0].is(Kind::text) || !parts[1].is(Kind::text))
        runtime.refuse("tojson: 'separators' needs two texts");
      comma_ = parts[0].text();
      colon_ = parts[1].text();
    }
  }

  std::string write(const Value& value) {
    add(value);
    return std::move(out_);
  }

 private:
  void add(const Value& value) {
    // Shared parts may be written many times: what was written since the last value is paid here.
    runtime_.step(1 + (out_.size() - paid_) / 16);
    paid_ = out_.size();
    if (out_.size() > runtime_.limits().output_bytes) runtime_.reserve(out_.size());
    switch (value.kind()) {
      case Kind::text:
        return add_text(value.text());
      case Kind::dict:
        return add_dict(value.dict());
      case Kind::sequence:
        if (value.sequence().style <= Style::tuple) return add_list(value.sequence().items);
        break;
      case Kind::none:
      case Kind::boolean:
      case Kind::integer:
      case Kind::number:
        out_ += scalar(value);
        return;
      default:
        break;
    }
    runtime_.refuse("a ", type_name(value), " cannot be written as JSON");
  }

  static std::string scalar(const Value& value) {
    if (value.is(Kind::none)) return "null";
    if (value.is(Kind::boolean)) return value.boolean() ? "true" : "false";
    if (value.is(Kind::integer)) return std::to_string(value.integer());
    const std::string text = number_text(value.number());
    return text == "inf" ? "Infinity" : text == "-inf" ? "-Infinity" : text == "nan" ? "NaN" : text;
  }

  void add_text(std::string_view text) {
    out_ += '"';
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t start = at;
      const char32_t c = next_char(text, at);
      static constexpr std::u32string_view kChars = U"\"\\\n\r\t\b\f";
      const std::size_t simple = kChars.find(c);
      if (simple != std::u32string_view::npos)
        (out_ += '\\') += "\"\\nrtbf"[simple];
      else if (c < 0x20 || (ascii_ && c > 0x7e && c < 0x10000))
        add_code(c);
      else if (ascii_ && c >= 0x10000) {
        add_code(0xd800 + ((c - 0x10000) >> 10));
        add_code(0xdc00 + ((c - 0x10000) & 0x3ff));
      } else
        out_ += text.substr(start, at - start);
    }
    out_ += '"';
  }

  void add_code(char32_t c) {
    char code[8];
    std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c & 0xffff));
    out_ += code;
  }

  void new_line() {
    if (!lines_) return;
    out_ += '\n';
    runtime_.reserve(indent_.size(), static_cast<std::size_t>(level_));
    for (int i = 0; i < level_; ++i) out_ += indent_;
  }

  template <class Items, class One>
  void add_all(const Items& items, std::string_view brackets, const One& one) {
    if (items.empty()) {
      out_ += brackets;
      return;
    }
    out_ += brackets[0];
    ++level_;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += comma_;
      first = false;
      new_line();
      one(item);
    }
    --level_;
    new_line();
    out_ += brackets[1];
  }

  void add_list(const Values& items) {
    add_all(items, "[]", [&](const Value& item) { add(item); });
  }

  void add_dict(const Dict& dict) {
    auto members = dict.members;
    if (sort_)
      std::stable_sort(members.begin(), members.end(), [&](const auto& a, const auto& b) {
        return compare(runtime_, a.first, b.first) < 0;
      });
    add_all(members, "{}", [&](const auto& member) {
      if (member.first.is(Kind::text))
        add_text(member.first.text());
      else if (member.first.is(Kind::none) || member.first.is_number())
        add_text(scalar(member.first));
      else
        runtime_.refuse("a ", type_name(member.first), " cannot be a key in JSON");
      out_ += colon_;
      add(member.second);
    });
  }

  Runtime& runtime_;
  bool ascii_ = false, sort_ = false, lines_ = false;
  std::string indent_, comma_ = ", ", colon_ = ": ", out_;
  std::size_t paid_ = 0;
  int level_ = 0;
};

}  // namespace

Value to_json(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return Value::of(JsonWriter(runtime, arguments).write(value));
}

}  // namespace lq::jinja
