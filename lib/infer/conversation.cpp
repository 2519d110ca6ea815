#include "lib/infer/conversation.h"

#include <nlohmann/json.hpp>

namespace lq {
namespace {

/// A JSON value when the text is one, else the text itself.
OrderedJson argument_value(const std::string& text) {
  OrderedJson value = OrderedJson::parse(text, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? OrderedJson(text) : value;
}

}  // namespace

Conversation::Conversation(const Model& model, const ConversationOptions& options)
    : model_(model), arguments_(options.template_arguments) {
  if (options.raw) return;
  if (const auto source = options.chat_template ? options.chat_template : model.chat_template())
    template_.emplace(*source, options.chat_template ? "chat template"
                                                     : model.source().name() + ": chat template");
}

std::string Conversation::prompt() const {
  std::string text;
  if (!template_) {
    for (const Message& message : messages_) text += message.content;
    return text;
  }
  OrderedJson variables;
  variables["messages"] = OrderedJson::array();
  for (const Message& message : messages_)
    variables["messages"].push_back({{"role", message.role}, {"content", message.content}});
  variables["add_generation_prompt"] = true;
  const Tokenizer& tokenizer = model_.tokenizer();
  if (const auto bos = tokenizer.bos()) variables["bos_token"] = tokenizer.token_text(*bos);
  if (const auto eos = tokenizer.eos()) variables["eos_token"] = tokenizer.token_text(*eos);
  for (const auto& [name, value] : arguments_) variables[name] = argument_value(value);
  return template_->render(variables, std::chrono::system_clock::now());
}

std::vector<TokenId> Conversation::prompt_ids() const {
  return model_.tokenizer().encode(prompt(),
                                   {.add_special = !has_template(), .parse_special = true});
}

}  // namespace lq
