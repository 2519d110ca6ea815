// lq-convert: model directories to GGUF.
#include "tools/cli/tool.h"

namespace {

struct Options {
  std::string input, output;
} options;

void declare(CLI::App& app) {
  app.add_option("INPUT", options.input, "directory of a Hugging Face model")->required();
  app.add_option("-o,--output", options.output, "file to write")->type_name("FILE");
}

void execute(const lq::cli::Context&) {}

constexpr const char* kDescription[] = {
    "Converts a model from the form in which it was published to one GGUF file.",
};
constexpr lq::cli::Example kExamples[] = {
    {"lq-convert ./TinyLlama-1.1B -o tinyllama.gguf", "Convert a model, keeping its types"},
};

}  // namespace

int main(int argc, char** argv) {
  return lq::cli::run({.name = "lq-convert",
                       .summary = "convert a model to GGUF, or look into one",
                       .description = kDescription,
                       .examples = kExamples,
                       .declare = declare,
                       .execute = execute},
                      argc, argv);
}
