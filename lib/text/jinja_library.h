#pragma once
// What templates call: operators, filters, tests, functions.
#include <string>
#include <string_view>

#include "lib/text/jinja_value.h"

namespace lq::jinja {

/// a `sign` b for + - * / // % **
Value arithmetic(Runtime& runtime, const std::string& sign, const Value& a, const Value& b);
Value negative(Runtime& runtime, const Value& value);
/// left + right where one may be safe: then the other is escaped.
Value join_text(Runtime& runtime, const Value& left, const Value& right);
/// `text` escaped if it is not safe but `beside` is.
std::string escaped_beside(const Value& beside, const Value& text);

Value apply_filter(Runtime& runtime, const std::string& name, const Value& subject,
                   const Arguments& arguments);
bool apply_test(Runtime& runtime, const std::string& name, const Value& subject,
                const Arguments& arguments);

/// Filters that choose and order items; false when `name` is none of them.
bool apply_list_filter(Runtime& runtime, const std::string& name, const Value& subject,
                       const Arguments& arguments, Value& result);

/// json.dumps(value, ensure_ascii=False, ...)
Value to_json(Runtime& runtime, const Value& value, const Arguments& arguments);
/// format % values
Value format_percent(Runtime& runtime, const Value& format, const Value& values);
/// format.format(...)
Value format_braces(Runtime& runtime, const Value& format, const Arguments& arguments);
/// A function that every template sees; undefined when there is none of this name.
Value global_function(Runtime& runtime, const std::string& name);

}  // namespace lq::jinja
