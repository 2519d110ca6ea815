// lq-bench: how fast and how good a model runs here.
#include "tools/cli/tool.h"

namespace {

struct Options {
  std::vector<std::string> models;
} options;

void declare(CLI::App& app) { app.add_option("MODEL", options.models, "GGUF models")->required(); }

void execute(const lq::cli::Context&) {}

constexpr const char* kDescription[] = {
    "Measures how fast models read prompts and write answers on this machine.",
};
constexpr lq::cli::Example kExamples[] = {
    {"lq-bench model.gguf", "Prompt processing and generation, medians with spread"},
};

}  // namespace

int main(int argc, char** argv) {
  return lq::cli::run({.name = "lq-bench",
                       .summary = "measure how fast a model runs here",
                       .description = kDescription,
                       .examples = kExamples,
                       .declare = declare,
                       .execute = execute},
                      argc, argv);
}
