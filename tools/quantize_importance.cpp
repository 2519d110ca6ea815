#include "tools/quantize_importance.h"

#include <nlohmann/json.hpp>

#include "lib/base/build_info.h"
#include "lib/base/quote.h"
#include "lib/jobs/calibrate.h"
#include "tools/cli/options.h"

namespace lq::tools {
namespace {

struct Missing {
  const char* name;
  OnMissing value;
};
constexpr Missing kMissing[] = {
    {"error", OnMissing::error}, {"raise", OnMissing::raise}, {"uniform", OnMissing::uniform}};

struct MergeArguments {
  std::vector<std::string> inputs;
  std::string output;
  int chunk_size = 0;
} merge_arguments;

std::string chunks_text(const ImportanceMatrix& matrix) {
  return std::to_string(matrix.entries.size()) + " entries of " +
         std::to_string(matrix.chunk_count) + " chunks of " + std::to_string(matrix.chunk_size) +
         " tokens";
}

/// The first that is known.
int merged_chunk_size(const std::vector<ImportanceMatrix>& matrices) {
  if (merge_arguments.chunk_size > 0) return merge_arguments.chunk_size;
  for (const ImportanceMatrix& matrix : matrices)
    if (matrix.chunk_size > 0) return matrix.chunk_size;
  return kDefaultChunkSize;
}

CLI::Option* add_names(CLI::App& app, const char* name, std::vector<std::string>& names,
                       const char* help) {
  return app.add_option(name, names, help)->type_name("TEXT")->allow_extra_args(false);
}

}  // namespace

void declare_importance(CLI::App& app, ImportanceArguments& arguments) {
  std::vector<std::string> choices;
  for (const Missing& row : kMissing) choices.emplace_back(row.name);
  app.add_option("--imatrix", arguments.imatrix,
                 "importance matrix (.gguf or .dat) that says which columns matter")
      ->type_name("FILE");
  app.add_option("--calibrate", arguments.calibrate,
                 "measure importance: INPUT reads this text before it is quantized")
      ->type_name("TEXT");
  app.add_option("--save-imatrix", arguments.save,
                 "keep what --calibrate measured, as .gguf, or as .dat when FILE ends so; without "
                 "TYPE nothing else is done")
      ->type_name("FILE");
  app.add_option("-c,--ctx", arguments.chunk_size, "tokens that --calibrate reads at a time")
      ->check(cli::whole_number(16, 1 << 20))
      ->capture_default_str();
  app.add_option("--chunks", arguments.chunks,
                 "how many times so many --calibrate reads at most; 0: the whole text")
      ->check(cli::whole_number(0, 1 << 30))
      ->capture_default_str();
  app.add_flag("--process-output", arguments.process_output, "measure output.weight, too");
  app.add_flag("--parse-special", arguments.parse_special,
               "recognise control tokens in the text of --calibrate");
  add_names(app, "--include-weights", arguments.include,
            "use importance of tensors whose name holds TEXT only");
  add_names(app, "--exclude-weights", arguments.exclude,
            "do not use importance of tensors whose name holds TEXT");
  app.add_option("--on-missing", arguments.on_missing,
                 "what becomes of tensors whose type needs importance when there is none: nothing "
                 "is written, they get a larger type, or all columns the same weight")
      ->check(cli::choice(choices))
      ->capture_default_str();
  app.add_option("--min-expert-tokens", arguments.min_expert_tokens,
                 "name experts that saw fewer tokens when importance was measured")
      ->check(cli::whole_number(0, 1 << 30))
      ->capture_default_str();
}

void check_importance_arguments(const ImportanceArguments& arguments, Existing existing,
                                bool resume, std::span<const std::filesystem::path> inputs) {
  if (!arguments.imatrix.empty() && arguments.measures())
    fail(ErrorKind::usage, "--imatrix and --calibrate exclude each other");
  if (!arguments.include.empty() && !arguments.exclude.empty())
    fail(ErrorKind::usage, "--include-weights and --exclude-weights exclude each other");
  if (arguments.save.empty()) return;
  if (!arguments.measures())
    fail(ErrorKind::usage, "--save-imatrix needs --calibrate, which measures what is saved");
  check_output(arguments.save, resume ? Existing::replace : existing, inputs);
}

std::optional<ImportanceMatrix> obtain_importance(const ImportanceArguments& arguments,
                                                  const std::filesystem::path& model_path,
                                                  bool resume, const cli::Context& context) {
  if (!arguments.imatrix.empty()) return read_importance(arguments.imatrix);
  if (!arguments.measures()) return std::nullopt;
  const auto backend = make_cpu_backend(context.threads);
  // What is measured are activations: they come from exact products.
  const Model model(model_path, *backend, {.repack = false});
  ImportanceMatrix matrix =
      calibrate(model,
                {.text = arguments.calibrate,
                 .chunk_size = arguments.chunk_size,
                 .max_chunks = arguments.chunks,
                 .parse_special = arguments.parse_special,
                 .with_output = arguments.process_output,
                 .threads = context.threads,
                 .save = arguments.save,
                 .existing = context.force ? Existing::replace : Existing::refuse,
                 .resume = resume},
                context.monitor);
  if (!arguments.save.empty())
    context.monitor.note("wrote " + arguments.save + ": " + chunks_text(matrix));
  return matrix;
}

ImportanceOptions importance_options(const ImportanceArguments& arguments,
                                     const ImportanceMatrix* matrix) {
  ImportanceOptions options;
  options.matrix = matrix;
  options.to_be_measured = !matrix && arguments.measures();
  options.file = arguments.imatrix.empty() ? arguments.save : arguments.imatrix;
  options.include = arguments.include;
  options.exclude = arguments.exclude;
  options.min_expert_tokens = arguments.min_expert_tokens;
  for (const Missing& row : kMissing)
    if (arguments.on_missing == row.name) options.on_missing = row.value;
  return options;
}

void declare_merge(CLI::App& app) {
  app.add_option("FILE", merge_arguments.inputs, "importance matrices of one model")->required();
  app.add_option("-o,--output", merge_arguments.output,
                 "file to write: .gguf, or the .dat form when its name ends so")
      ->type_name("FILE")
      ->required();
  app.add_option("-c,--ctx", merge_arguments.chunk_size,
                 "tokens of a chunk; without it those of the first file that says it, else 512")
      ->check(cli::whole_number(1, 1 << 24));
}

void execute_merge(const cli::Context& context) {
  const Existing existing = context.force ? Existing::replace : Existing::refuse;
  const std::vector<std::filesystem::path> inputs(merge_arguments.inputs.begin(),
                                                  merge_arguments.inputs.end());
  check_output(merge_arguments.output, existing, inputs);
  std::vector<ImportanceMatrix> matrices;
  for (const auto& input : inputs) {
    matrices.push_back(read_importance(input));
    for (const auto& [name, entry] : matrices.back().entries)
      lq::check_importance(matrices.back().name, name, entry);
  }
  ImportanceMatrix sum;
  sum.name = merge_arguments.output;
  sum.chunk_size = merged_chunk_size(matrices);
  for (const ImportanceMatrix& matrix : matrices) merge_importance(sum, matrix);
  write_importance(sum, merge_arguments.output, existing);
  if (context.json) {
    const nlohmann::ordered_json json = {{"schema", "lq.quantize.imatrix_merge/1"},
                                         {"lq_version", build_info().version},
                                         {"output", merge_arguments.output},
                                         {"entries", sum.entries.size()},
                                         {"chunk_count", sum.chunk_count},
                                         {"chunk_size", sum.chunk_size},
                                         {"datasets", sum.datasets}};
    cli::print(json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
    return;
  }
  context.monitor.note("wrote " + merge_arguments.output + ": " + chunks_text(sum));
}

}  // namespace lq::tools
