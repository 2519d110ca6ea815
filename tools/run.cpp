// lq-run: chat, or one answer.
#include "tools/cli/tool.h"

namespace {

struct Options {
  std::string model, prompt;
} options;

void declare(CLI::App& app) {
  app.add_option("MODEL", options.model, "GGUF model")->required();
  app.add_option("PROMPT", options.prompt, "what to answer; without one: a chat");
}

void execute(const lq::cli::Context&) {}

constexpr const char* kDescription[] = {
    "Runs a GGUF model: a chat on a terminal, otherwise one answer to a prompt.",
};
constexpr lq::cli::Example kExamples[] = {
    {"lq-run model.gguf", "Chat on a terminal"},
    {"echo 'Why is the sky blue?' | lq-run model.gguf", "One answer on stdout"},
};

}  // namespace

int main(int argc, char** argv) {
  return lq::cli::run({.name = "lq-run",
                       .summary = "chat with a model, or get one answer",
                       .description = kDescription,
                       .examples = kExamples,
                       .declare = declare,
                       .execute = execute},
                      argc, argv);
}
