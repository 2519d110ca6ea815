#pragma once
// Messages to prompt text: the Jinja template of a model.
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/json.h"

namespace lq {

/// Bounds on what a template may cost; templates come from files that nobody has checked.
struct TemplateLimits {
  std::size_t output_bytes = std::size_t{64} << 20;
  std::uint64_t steps = 20'000'000;  ///< evaluated nodes; 16 bytes of text made count as one
  int depth = 600;                   ///< nested calls, expressions and statements
};

/// A parsed template. Rendering follows transformers (ImmutableSandboxedEnvironment, trim_blocks,
/// lstrip_blocks, loop controls). Thread-safe.
class ChatTemplate {
 public:
  /// Throws Error(input) with line and reason for a syntax error. `name` is used in messages.
  ChatTemplate(std::string_view source, std::string name);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  /// `variables` is an object: messages, tools, documents, add_generation_prompt, bos_token, ...
  /// The first three are None when absent. `now` is what strftime_now shows (local time). Throws
  /// Error(input) for raise_exception, undefined attributes and everything else that Jinja refuses.
  std::string render(const OrderedJson& variables, std::chrono::system_clock::time_point now,
                     const TemplateLimits& limits = {}) const;

 private:
  struct Parsed;
  std::unique_ptr<Parsed> parsed_;
};

}  // namespace lq
