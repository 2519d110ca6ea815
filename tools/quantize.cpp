// lq-quantize: a model's weights in fewer bits.
#include "tools/cli/tool.h"

namespace {

struct Options {
  std::string input, output, type;
} options;

void declare(CLI::App& app) {
  app.add_option("INPUT", options.input, "GGUF model to read")->required();
  app.add_option("OUTPUT", options.output, "GGUF model to write")->required();
  app.add_option("TYPE", options.type, "type or recipe, such as Q4_K_M")->required();
}

void execute(const lq::cli::Context&) {}

constexpr const char* kDescription[] = {
    "Stores the weights of a GGUF model in fewer bits.",
};
constexpr lq::cli::Example kExamples[] = {
    {"lq-quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M", "Quantize to about 4.8 bits a weight"},
};

}  // namespace

int main(int argc, char** argv) {
  return lq::cli::run({.name = "lq-quantize",
                       .summary = "store a model's weights in fewer bits",
                       .description = kDescription,
                       .examples = kExamples,
                       .declare = declare,
                       .execute = execute},
                      argc, argv);
}
