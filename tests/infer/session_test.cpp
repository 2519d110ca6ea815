#include "lib/infer/session.h"

#include <doctest/doctest.h>

#include <numeric>

#include "lib/text/unicode.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/temp_dir.h"

namespace {

using namespace lq;
using test::holds;
using test::message_of;

/// Wants to stop once it was asked `patience` times.
class Impatient : public Monitor {
 public:
  explicit Impatient(int patience) : patience_(patience) {}
  bool stop_requested() const override { return patience_-- <= 0; }

 private:
  mutable int patience_;
};

struct TinyModel {
  test::TempDir dir;
  std::unique_ptr<Backend> backend = make_cpu_backend(1);
  Model model{dir.write("tiny.gguf", test::tiny_llama().build()), *backend};
};

std::vector<TokenId> prompt_of(int n) {
  std::vector<TokenId> ids(static_cast<std::size_t>(n));
  std::iota(ids.begin(), ids.end(), 260);
  for (TokenId& id : ids) id = 260 + id % 40;
  return ids;
}

struct Generated {
  Answer answer;
  std::string shown;
};

Generated generate(Session& session, const GenerateOptions& options, const Monitor& asked = {},
                   std::uint64_t seed = 3) {
  Generated result;
  SamplerOptions numbers;
  numbers.temperature = 2;
  Sampler sampler(numbers, seed);
  result.answer = session.generate(
      sampler, options, [&](std::string_view part) { result.shown += part; },
      const_cast<Monitor&>(asked));
  return result;
}

}  // namespace

TEST_CASE("session: the context of the model, at most 8192, unless one is asked for") {
  const TinyModel tiny;
  CHECK(Session(tiny.model, {}).context() == 64);
  CHECK(Session(tiny.model, {.context = 7}).context() == 7);
  CHECK(Session(tiny.model, {.context = 100}).context() == 100);
  const test::TempDir dir;
  const auto long_model =
      dir.write("long.gguf", test::tiny_llama().u32("llama.context_length", 1u << 20).build());
  CHECK(Session(Model(long_model, *tiny.backend), {}).context() == 8192);
}

TEST_CASE("session: an answer ends at its limit") {
  const TinyModel tiny;
  Session session(tiny.model, {});
  Monitor monitor;
  for (const int limit : {0, 1, 5}) {
    session.set_prompt(prompt_of(10), monitor);
    const auto made = generate(session, {.max_tokens = limit, .ignore_end = true});
    CHECK(made.answer.finish == FinishReason::length);
    CHECK(made.answer.ids.size() == static_cast<std::size_t>(limit));
    CHECK(session.timings().generated_tokens == limit);
    CHECK(session.timings().prompt_tokens == 10);
    CHECK(made.shown == made.answer.text);
  }
}

TEST_CASE("session: an answer ends where the context does") {
  const TinyModel tiny;
  Session session(tiny.model, {.context = 20});
  Monitor monitor;
  session.set_prompt(prompt_of(10), monitor);
  const auto made = generate(session, {.ignore_end = true});
  CHECK(made.answer.finish == FinishReason::context);
  // The last token needs no place in the context.
  CHECK(made.answer.ids.size() == 11);
  CHECK(std::string(name_of(made.answer.finish)) == "context");
  session.set_prompt(prompt_of(20), monitor);
  CHECK(generate(session, {.ignore_end = true}).answer.ids.size() == 1);
  const auto said =
      message_of(ErrorKind::input, [&] { session.set_prompt(prompt_of(21), monitor); });
  CHECK_MESSAGE(holds(said, "21 tokens, the context 20"), said);
  CHECK(holds(message_of(ErrorKind::input, [&] { session.set_prompt({}, monitor); }), "empty"));
}

TEST_CASE("session: an end token ends an answer and is no part of it") {
  test::TempDir dir;
  const auto backend = make_cpu_backend(1);
  // Nearly every token ends the answer.
  auto builder = test::tiny_llama();
  const Model plain(dir.write("plain.gguf", builder.build()), *backend);
  Session probe(plain, {});
  Monitor monitor;
  probe.set_prompt(prompt_of(10), monitor);
  const TokenId first = generate(probe, {.max_tokens = 1, .ignore_end = true}).answer.ids[0];
  const Model ending(
      dir.write(
          "ending.gguf",
          builder.u32("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(first)).build()),
      *backend);
  Session session(ending, {});
  session.set_prompt(prompt_of(10), monitor);
  const auto made = generate(session, {});
  CHECK(made.answer.finish == FinishReason::stop);
  CHECK(made.answer.ids.empty());
  CHECK(made.answer.text.empty());
  CHECK(session.timings().generated_tokens == 1);
}

TEST_CASE("session: a stop text ends an answer before it") {
  const TinyModel tiny;
  Session session(tiny.model, {});
  Monitor monitor;
  session.set_prompt(prompt_of(10), monitor);
  const auto whole = generate(session, {.max_tokens = 20, .ignore_end = true}).answer;
  REQUIRE(whole.text.size() > 8);
  const std::string stop = whole.text.substr(5, 3);
  session.set_prompt(prompt_of(10), monitor);
  const auto made =
      generate(session, {.max_tokens = 20, .stops = {"\x01never", stop}, .ignore_end = true});
  CHECK(made.answer.finish == FinishReason::stop);
  CHECK(made.answer.text == whole.text.substr(0, whole.text.find(stop)));
  CHECK(made.shown == made.answer.text);
  CHECK(made.answer.ids.size() < whole.ids.size());
}

TEST_CASE("session: a wish to stop ends an answer, and a prompt with an error") {
  const TinyModel tiny;
  Session session(tiny.model, {.max_batch = 4});
  Monitor monitor;
  session.set_prompt(prompt_of(10), monitor);
  const Impatient after_three(3);
  const auto made = generate(session, {.ignore_end = true}, after_three);
  CHECK(made.answer.finish == FinishReason::interrupted);
  CHECK(made.answer.ids.size() == 3);

  Impatient at_second_step(1);
  session.clear();
  CHECK(message_of(ErrorKind::interrupted,
                   [&] { session.set_prompt(prompt_of(10), at_second_step); }) == "interrupted");
  // What was done by then is of use.
  session.set_prompt(prompt_of(10), monitor);
  CHECK(session.timings().cached_tokens == 4);
}

TEST_CASE("session: only what differs from the text before is run") {
  const TinyModel tiny;
  Session session(tiny.model, {}), fresh(tiny.model, {});
  Monitor monitor;
  auto ids = prompt_of(30);
  session.set_prompt(ids, monitor);
  CHECK(session.timings().cached_tokens == 0);
  session.set_prompt(ids, monitor);
  CHECK(session.timings().cached_tokens == 29);  // the last is run for its logits
  ids[12] = 5;
  session.set_prompt(ids, monitor);
  CHECK(session.timings().cached_tokens == 12);
  fresh.set_prompt(ids, monitor);
  CHECK(std::equal(session.logits().begin(), session.logits().end(), fresh.logits().begin()));
  const auto made = generate(session, {.max_tokens = 6, .ignore_end = true}).answer;
  ids.insert(ids.end(), made.ids.begin(), made.ids.end());
  ids.push_back(9);
  session.set_prompt(ids, monitor);
  CHECK(session.timings().cached_tokens == 36);
  session.clear();
  session.set_prompt(ids, monitor);
  CHECK(session.timings().cached_tokens == 0);
}

TEST_CASE("session: what is shown are whole characters, whatever the tokens are") {
  const TinyModel tiny;  // most of its tokens are single bytes
  Session session(tiny.model, {.context = 400});
  Monitor monitor;
  std::size_t parts = 0;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    session.set_prompt(prompt_of(10), monitor);
    SamplerOptions numbers;
    numbers.temperature = 2;
    numbers.top_k = 0;
    numbers.min_p = 0;
    Sampler sampler(numbers, seed);
    std::string shown;
    const auto made = session.generate(
        sampler, {.max_tokens = 300, .ignore_end = true},
        [&](std::string_view part) {
          CHECK(utf8_valid_bytes(part, 0) == part.size());
          shown += part;
          ++parts;
        },
        monitor);
    CHECK(shown == made.text);
  }
  CHECK(parts > 100);
}
