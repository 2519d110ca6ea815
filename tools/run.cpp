#include <array>
#include <chrono>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

#include "lib/infer/conversation.h"
#include "lib/infer/session.h"
#include "lib/io/text_file.h"
#include "lib/jobs/answer_report.h"
#include "lib/jobs/plan_source.h"
#include "lib/jobs/token_io.h"
#include "tools/chat.h"
#include "tools/cli/options.h"
#include "tools/cli/tool.h"
#include "tools/kv_type.h"

namespace {

using namespace lq;

constexpr std::size_t kSamplerNumbers = sizeof(SamplerOptions) / sizeof(double);

struct Options {
  std::string model;
  std::optional<std::string> prompt, prompt_file, system, chat_template, chat_template_file;
  std::optional<std::string> tokenize, logits;
  std::vector<std::string> template_arguments, stops;
  std::array<std::optional<double>, kSamplerNumbers> sampler;
  std::optional<std::uint64_t> seed;
  std::string device = "cpu";
  int max_tokens = -1, context = 0;
  std::optional<std::string> kv_type;
  bool raw = false, show_prompt = false, stats = false, fail_on_truncate = false;
  bool exact = false, no_repack = false;
  bool add_special = false, no_parse_special = false;
} options;

std::string default_text(const SamplerNumber& number) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", SamplerOptions{}.*number.field);
  return text;
}

void declare_sampling(CLI::App& app) {
  for (std::size_t i = 0; i < sampler_numbers().size(); ++i) {
    const SamplerNumber& number = sampler_numbers()[i];
    app.add_option(number.option, options.sampler[i], number.help)
        ->default_str(default_text(number))
        ->check(number.whole ? cli::whole_number(static_cast<std::int64_t>(number.least),
                                                 static_cast<std::int64_t>(number.most))
                             : cli::number(number.least, number.most));
  }
  app.add_option("--seed", options.seed,
                 "seed of the random choices; without it a new one each time")
      ->check(cli::whole_number(0, std::numeric_limits<std::int64_t>::max()));
}

/// What the tool can do instead of answering.
void declare_other_modes(CLI::App& app) {
  app.add_option(
         "--tokenize", options.tokenize,
         "instead of answering: one JSON string a line in, one JSON list of token ids a line out")
      ->type_name("FILE");
  app.add_flag("--add-special", options.add_special,
               "with --tokenize: add the begin and end tokens that the model asks for");
  app.add_flag("--no-parse-special", options.no_parse_special,
               "with --tokenize: treat the texts of special tokens as ordinary text");
  app.add_option(
         "--logits", options.logits,
         "instead of answering: {\"tokens\": [ids], \"positions\": [indices]} in, logits out")
      ->type_name("FILE");
}

void declare(CLI::App& app) {
  app.add_option("MODEL", options.model,
                 "model to run: a GGUF file, or a Hugging Face folder, quantized or not")
      ->required();
  app.add_option("PROMPT", options.prompt,
                 "what to answer; without it standard input or, in a terminal, a chat")
      ->type_name("PROMPT");
  app.add_option("-f,--file", options.prompt_file,
                 "read the prompt from a file; - is standard input")
      ->type_name("FILE");
  app.add_option("-s,--system", options.system, "system message")->type_name("TEXT");
  app.add_option("-n,--max-tokens", options.max_tokens,
                 "tokens to generate at most; -1: until the answer or the context ends")
      ->check(cli::whole_number(-1, 1'000'000'000));
  app.add_option("-c,--ctx", options.context,
                 "context size in tokens; 0: what the model was trained for, at most 8192")
      ->check(cli::whole_number(0, 1 << 24));
  app.add_option("--stop", options.stops, "end the answer before this text (repeatable)")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_flag("--raw", options.raw, "continue the prompt as it is, without the chat template");
  app.add_option("--chat-template", options.chat_template, "Jinja template instead of the model's")
      ->type_name("TEXT");
  app.add_option("--chat-template-file", options.chat_template_file, "the same from a file")
      ->type_name("FILE")
      ->excludes("--chat-template");
  app.add_option("--template-arg", options.template_arguments,
                 "variable for the chat template, a JSON value or a text (repeatable)")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  app.add_flag("--show-prompt", options.show_prompt,
               "show on standard error what the model is given to continue");
  declare_sampling(app);
  app.add_option("--device", options.device, "where to run")
      ->check(cli::choice({"cpu", "cuda"}))
      ->capture_default_str();
  add_kv_type(app, options.kv_type, "f16 by default, f32 with --logits");
  app.add_flag(
      "--exact", options.exact,
      "decode weights to binary32 instead of rounding what they are multiplied with: slower");
  app.add_flag(
      "--no-repack", options.no_repack,
      "use weights where the file is mapped, as --exact does: for models larger than memory");
  app.add_flag("--stats", options.stats, "show token counts and speeds on standard error");
  app.add_flag("--fail-on-truncate", options.fail_on_truncate,
               "exit with status 7 when a limit cut the answer");
  declare_other_modes(app);
}

/// A file's name for messages.
std::string shown_name(const std::string& file) { return file == "-" ? "standard input" : file; }

void tokenize(const cli::Context& context) {
  const auto source = open_runnable(options.model, context.threads, context.monitor);
  const auto tokenizer = make_tokenizer(source->metadata());
  const EncodeOptions encode = {.add_special = options.add_special,
                                .parse_special = !options.no_parse_special};
  std::string out;
  tokenize_lines(*tokenizer, encode, read_text(*options.tokenize), shown_name(*options.tokenize),
                 [&](std::string_view line) {
                   out += line;
                   out += '\n';
                   if (out.size() > (1 << 16)) cli::print(std::exchange(out, {}));
                 });
  cli::print(out);
}

SamplerOptions chosen_sampler(const Metadata& metadata) {
  SamplerOptions sampler = sampler_defaults(metadata);
  for (std::size_t i = 0; i < kSamplerNumbers; ++i)
    if (options.sampler[i]) sampler.*sampler_numbers()[i].field = *options.sampler[i];
  return sampler;
}

ConversationOptions conversation_options() {
  ConversationOptions result{.raw = options.raw, .chat_template = options.chat_template};
  if (options.chat_template_file) result.chat_template = read_text(*options.chat_template_file);
  for (const std::string& argument : options.template_arguments) {
    const std::size_t equals = argument.find('=');
    if (equals == std::string::npos || equals == 0)
      fail(ErrorKind::usage, "--template-arg '", argument, "': expected NAME=VALUE");
    result.template_arguments[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  return result;
}

std::string not_empty(std::string prompt) {
  if (prompt.empty()) fail(ErrorKind::usage, "the prompt is empty");
  return prompt;
}

/// The prompt of a one-shot call, or nothing when a chat is meant. Files and streams lose one final
/// newline.
std::optional<std::string> one_shot_prompt() {
  if (options.prompt && options.prompt_file)
    fail(ErrorKind::usage, "both a prompt and --file were given; choose one");
  if (options.prompt && *options.prompt != "-") return not_empty(*options.prompt);
  const bool wants_input = options.prompt || (!options.prompt_file && !isatty(STDIN_FILENO));
  if (!options.prompt_file && !wants_input) {
    if (isatty(STDOUT_FILENO)) return std::nullopt;
    fail(ErrorKind::usage, "no prompt: give one as an argument, with --file or on standard input");
  }
  std::string text = read_text(wants_input ? "-" : *options.prompt_file);
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return not_empty(std::move(text));
}

void answer_once(const std::string& prompt, Conversation& conversation, Session& session,
                 AnswerReport& report, const Model& model, const cli::Context& context) {
  conversation.messages().push_back({"user", prompt});
  if (options.show_prompt) {
    report.prompt = conversation.prompt();
    if (!context.json) context.monitor.note("prompt:\n" + *report.prompt);
  }
  session.set_prompt(conversation.prompt_ids(), context.monitor);
  Sampler sampler(report.sampler, report.seed);
  report.answer = session.generate(
      sampler, {.max_tokens = options.max_tokens, .stops = options.stops},
      [&](std::string_view part) {
        if (!context.json) cli::print(part);
      },
      context.monitor);
  report.timings = session.timings();
  if (context.json)
    cli::print(to_json(report, model).dump() + "\n");
  else if (isatty(STDOUT_FILENO))
    cli::print("\n");
  if (options.stats) context.monitor.note(stats_text(report.timings));
  if (report.answer.finish == FinishReason::interrupted)
    fail(ErrorKind::interrupted, "interrupted");
  const bool cut = report.answer.finish != FinishReason::stop;
  if (cut && options.fail_on_truncate)
    fail(ErrorKind::truncated, "the answer was cut: ", name_of(report.answer.finish));
}

void execute(const cli::Context& context) {
  if (options.tokenize) return tokenize(context);
  if (options.add_special || options.no_parse_special)
    fail(ErrorKind::usage, "--add-special and --no-parse-special go with --tokenize");
  const std::optional<std::string> prompt = options.logits ? std::nullopt : one_shot_prompt();
  const DType kv_type = *dtype_named(options.kv_type.value_or(options.logits ? "f32" : "f16"));
  const ConversationOptions templates = conversation_options();
  const auto start = std::chrono::steady_clock::now();
  const auto backend = make_backend(options.device, context.threads);
  const Model model(open_runnable(options.model, context.threads, context.monitor), *backend,
                    {.repack = !options.exact && !options.no_repack,
                     .round_inputs = !options.exact,
                     .monitor = &context.monitor});
  if (options.logits)
    return cli::print(logits_of(model, read_text(*options.logits), shown_name(*options.logits),
                                kv_type, context.monitor)
                          .dump() +
                      "\n");
  Conversation conversation(model, templates);
  Session session(model, {.context = options.context, .kv_type = kv_type});
  AnswerReport report;
  report.load = std::chrono::steady_clock::now() - start;
  report.sampler = chosen_sampler(model.source().metadata());
  report.seed = options.seed ? *options.seed : std::random_device{}();
  report.context = session.context();
  report.kv_type = kv_type;
  report.max_tokens = options.max_tokens;
  report.threads = context.threads;
  report.templated = conversation.has_template();
  if (options.system) conversation.messages().push_back({"system", *options.system});
  if (prompt) return answer_once(*prompt, conversation, session, report, model, context);
  chat(model, conversation, session,
       {.sampler = report.sampler,
        .seed = report.seed,
        .generate = {.max_tokens = options.max_tokens, .stops = options.stops},
        .show_prompt = options.show_prompt,
        .stats = options.stats},
       context);
}

constexpr const char* kDescription[] = {
    "Runs a language model. With a prompt as argument, in a file or on standard input it prints "
    "one answer "
    "and exits; with a terminal on both ends it starts a chat. Standard output carries the "
    "answer's bytes "
    "and nothing else.",
    "The prompt is put into the model's chat template unless --raw is given or the model has none. "
    "Sampling "
    "starts from what the model's file recommends (general.sampling.*), then the defaults below.",
    "In a chat, /help lists the commands, \"\"\" begins and ends a message of several lines, "
    "Ctrl-C stops an "
    "answer and Ctrl-D leaves. History is kept in $XDG_STATE_HOME/lq/run_history."};
constexpr cli::Example kExamples[] = {
    {"lq-run model.gguf", "chat in a terminal"},
    {"lq-run model.gguf 'What is the capital of France?' --temp 0", "one answer, always the same"},
    {"lq-run model.gguf -f prompt.txt -n 200 --json",
     "an answer with token counts and timings as JSON"},
    {"lq-run model.gguf --raw 'Once upon a time' --seed 1", "continue a text"},
    {"lq-run model.gguf --tokenize strings.jsonl", "token ids of a file of JSON strings"}};

}  // namespace

int main(int argc, char** argv) {
  return cli::run({.name = "lq-run",
                   .summary = "run a language model on this machine",
                   .description = kDescription,
                   .examples = kExamples,
                   .declare = declare,
                   .execute = execute,
                   .common = {.force = false}},
                  argc, argv);
}
