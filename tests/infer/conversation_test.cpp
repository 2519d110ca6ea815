#include "lib/infer/conversation.h"

#include <doctest/doctest.h>

#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/temp_dir.h"

namespace {

using namespace lq;
using test::holds;
using test::message_of;

constexpr char kTemplate[] =
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}{{ eos_token }}{{ mood }}";

struct Fixture {
  test::TempDir dir;
  std::unique_ptr<Backend> backend = make_cpu_backend(1);
  Model model;
  explicit Fixture(const char* chat_template)
      : model(dir.write("m.gguf", build(chat_template)), *backend) {}

  static std::vector<std::byte> build(const char* chat_template) {
    auto builder = test::tiny_llama();
    if (chat_template) builder.string("tokenizer.chat_template", chat_template);
    return builder.build();
  }
};

std::string prompt_of(const Model& model, const ConversationOptions& options) {
  Conversation conversation(model, options);
  conversation.messages() = {{"system", "S"}, {"user", "U"}};
  return conversation.prompt();
}

}  // namespace

TEST_CASE("conversation: messages go through the model's template") {
  const Fixture f(kTemplate);
  CHECK(prompt_of(f.model, {}) == "<s>[system]S[user]U[assistant]</s>");
  Conversation conversation(f.model, {});
  CHECK(conversation.has_template());
  conversation.messages() = {{"user", "U"}};
  // The template writes its special tokens itself: they are recognised, none is added.
  const auto ids = conversation.prompt_ids();
  CHECK(ids.front() == 1);
  CHECK(ids[1] != 1);
  CHECK(ids.back() == 2);
}

TEST_CASE("conversation: without a template contents are continued as they are") {
  const Fixture with(kTemplate), without(nullptr);
  CHECK(prompt_of(with.model, {.raw = true}) == "SU");
  CHECK(prompt_of(without.model, {}) == "SU");
  const Conversation conversation(without.model, {});
  CHECK_FALSE(conversation.has_template());
  CHECK(conversation.prompt_ids() == std::vector<TokenId>{1});  // the begin token of this tokenizer
}

TEST_CASE("conversation: another template and its arguments") {
  const Fixture f(kTemplate);
  CHECK(prompt_of(f.model, {.chat_template = "{{ messages[1].content }}!"}) == "U!");
  const auto with_mood = [&](const char* value) {
    return prompt_of(f.model, {.chat_template = "{{ mood }}|{{ mood is string }}",
                               .template_arguments = {{"mood", value}}});
  };
  CHECK(with_mood("good") == "good|True");
  CHECK(with_mood("\"3\"") == "3|True");
  CHECK(with_mood("3") == "3|False");
  CHECK(with_mood("true") == "True|False");
  CHECK(with_mood("[1, 2") == "[1, 2|True");
  CHECK(with_mood("") == "|True");
}

TEST_CASE("conversation: a template that is broken or refuses is named") {
  const auto said = [](const char* chat_template) {
    const Fixture f(chat_template);
    return message_of(ErrorKind::input, [&] { (void)prompt_of(f.model, {}); });
  };
  const auto syntax = said("line\n{% if %}");
  CHECK_MESSAGE(holds(syntax, "m.gguf: chat template:2: "), syntax);
  const auto refused = said("{{ raise_exception('no system message') }}");
  CHECK_MESSAGE(holds(refused, "no system message"), refused);
  const auto missing = said("{{ messages[0].parts.first }}");
  CHECK_MESSAGE(holds(missing, "no member 'parts'"), missing);
}
