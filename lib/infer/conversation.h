#pragma once
// Messages so far and the prompt that they make with a model's chat template.
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/infer/model.h"
#include "lib/text/chat_template.h"

namespace lq {

struct Message {
  std::string role;  ///< "system", "user", "assistant"
  std::string content;
};

struct ConversationOptions {
  bool raw = false;                          ///< no template: text is continued as it is
  std::optional<std::string> chat_template;  ///< instead of the model's
  std::map<std::string, std::string> template_arguments;  ///< JSON values, or else strings
};

class Conversation {
 public:
  /// `model` outlives this. Throws Error(input) for a template with a syntax error.
  Conversation(const Model& model, const ConversationOptions& options);

  /// False when prompts are continued as they are: on request, or because the model has no
  /// template.
  bool has_template() const { return template_.has_value(); }
  std::vector<Message>& messages() { return messages_; }

  /// The text that the model continues: rendered messages and the beginning of the answer.
  /// Without a template, the contents one after the other.
  std::string prompt() const;
  /// prompt() as tokens. A template writes its special tokens itself; without one they are added as
  /// the model's metadata says.
  std::vector<TokenId> prompt_ids() const;

 private:
  const Model& model_;
  std::map<std::string, std::string> arguments_;
  std::optional<ChatTemplate> template_;
  std::vector<Message> messages_;
};

}  // namespace lq
