// Any bytes as a template: text or lq::Error.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/json.h"
#include "lib/text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const lq::OrderedJson variables = lq::parse_ordered_json(
      R"({"messages": [{"role": "system", "content": "Be kind. "}, {"role": "user", "content": "h\u00e9"},
      {"role": "assistant", "content": null, "tool_calls": [{"arguments": {"a": [1, 2.5, true]}}]}],
      "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
      "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true})",
      "variables");
  lq::TemplateLimits limits;
  limits.steps = 200'000;
  limits.output_bytes = std::size_t{1} << 20;
  try {
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    lq::ChatTemplate(source, "fuzz")
        .render(variables, std::chrono::system_clock::time_point(), limits);
  } catch (const lq::Error&) {
    // A refusal is an answer.
  }
  return 0;
}
