#pragma once
// Tokens and logits as JSON, for tests and for people who compare implementations.
#include <functional>
#include <string>
#include <string_view>

#include "lib/base/json.h"
#include "lib/base/monitor.h"
#include "lib/infer/model.h"

namespace lq {

/// One JSON string a line in, one JSON list of ids a line out (handed to `on_line` without its
/// newline). Empty lines are skipped. Throws Error(input) that names the line.
void tokenize_lines(const Tokenizer& tokenizer, EncodeOptions options, std::string_view text,
                    const std::string& name, const std::function<void(std::string_view)>& on_line);

/// `request`: {"tokens": [ids], "positions": [indices]}, or a list of ids; without positions the
/// last one. Gives lq.run.logits/1: "logits" maps each position to the logits of the whole
/// vocabulary after the tokens up to and including it. Throws Error(input) for ids or positions out
/// of range.
OrderedJson logits_of(const Model& model, std::string_view request, const std::string& name,
                      DType kv_type, Monitor& monitor);

}  // namespace lq
