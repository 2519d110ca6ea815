// lq-quantize: a model's weights in fewer bits.
#include <algorithm>
#include <chrono>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/build_info.h"
#include "lib/base/quote.h"
#include "lib/io/text_file.h"
#include "lib/jobs/journal.h"
#include "lib/jobs/plan_files.h"
#include "tools/cli/options.h"
#include "tools/quantize_checkpoint.h"
#include "tools/quantize_importance.h"
#include "tools/quantize_options.h"
#include "tools/quantize_target.h"

namespace {

using lq::ErrorKind;
using lq::fail;

lq::tools::QuantizeArguments options;
lq::tools::ImportanceArguments importance;
lq::tools::TargetArguments target;
lq::tools::CheckpointArguments checkpoint;

void declare(CLI::App& app) {
  lq::tools::declare_quantize(app, options);
  lq::tools::declare_target(app, target);
  lq::tools::declare_importance(app, importance);
  lq::tools::declare_checkpoint(app, checkpoint);
}

void print_list(bool json) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  std::string text = "type      default  output  number  importance\n";
  for (const std::string& name : lq::usable_recipe_names()) {
    const lq::Recipe& recipe = *lq::find_recipe(name);
    const std::string type = lq::traits(recipe.type).name, output = lq::traits(recipe.output).name;
    rows.push_back({{"name", name},
                    {"default_type", type},
                    {"output_type", output},
                    {"file_type", recipe.file_type},
                    {"needs_importance", recipe.needs_importance}});
    const std::string number = std::to_string(recipe.file_type);
    text += name + std::string(10 - name.size(), ' ') + type + std::string(9 - type.size(), ' ') +
            output + std::string(8 - output.size(), ' ') + number +
            (recipe.needs_importance ? std::string(8 - number.size(), ' ') + "needed" : "") + "\n";
  }
  text += "COPY      every tensor as it is\n\nscheme for GPU engines  bits  format\n";
  nlohmann::ordered_json schemes = nlohmann::ordered_json::array();
  for (const lq::WeightScheme& scheme : lq::weight_schemes()) {
    schemes.push_back({{"name", scheme.name},
                       {"format", scheme.format},
                       {"bits_per_weight", scheme.bits_per_weight()}});
    std::ostringstream bits;
    bits << std::setprecision(4) << scheme.bits_per_weight();
    text += scheme.name + std::string(24 - scheme.name.size(), ' ') + bits.str() +
            std::string(6 - std::min<std::size_t>(5, bits.str().size()), ' ') + scheme.format +
            "\n";
  }
  const nlohmann::ordered_json list = {{"schema", "lq.quantize.list/1"},
                                       {"lq_version", lq::build_info().version},
                                       {"types", rows},
                                       {"schemes", schemes}};
  lq::cli::print(json ? list.dump() + "\n" : text);
}

/// `lq-quantize IN TYPE` leaves out the output.
void settle_positionals() {
  if (options.input.empty()) fail(ErrorKind::usage, "INPUT is required");
  const bool named = lq::find_recipe(options.output) || options.output == "COPY";
  if (options.type.empty() && (!target.given() || named)) std::swap(options.type, options.output);
  if (options.type.empty() && target.given()) return;  // chosen when the model is known
  if (options.type.empty()) fail(ErrorKind::usage, "TYPE is required, such as Q4_K_M (--list)");
  if (lq::find_weight_scheme(options.type)) return;
  auto names = lq::usable_recipe_names();
  names.push_back("COPY");
  for (const lq::WeightScheme& scheme : lq::weight_schemes()) names.push_back(scheme.name);
  const std::string near = lq::cli::nearest(options.type, names);
  if (!lq::find_recipe(options.type) && !near.empty() && near != "COPY")
    fail(ErrorKind::usage, "unknown type ", lq::quote(options.type), "; did you mean '", near,
         "'? --list shows all");
}

/// The plan, or the report when one was made. `fit` is null without a target.
nlohmann::ordered_json envelope(const lq::Plan& plan, const lq::WriteOptions& writing,
                                const lq::SizeFit* fit) {
  const bool report = writing.report && !options.dry_run;
  nlohmann::ordered_json json = {{"schema", report ? "lq.quantize.report/1" : "lq.quantize.plan/1"},
                                 {"lq_version", lq::build_info().version},
                                 {"settings",
                                  {{"input", options.input},
                                   {"output", options.output},
                                   {"type", options.type},
                                   {"pure", options.pure},
                                   {"imatrix", importance.imatrix},
                                   {"calibrate", importance.calibrate},
                                   {"threads", writing.threads},
                                   {"written", !options.dry_run}}}};
  json.update(report ? lq::report_json(plan, options.output, writing)
                     : lq::plan_json(plan, options.output, writing));
  json["fallback_percent"] = lq::fallback_percent(plan);
  if (fit) json["target"] = lq::size_json(*fit);
  return json;
}

void show_warnings(const lq::Plan& plan, lq::cli::TerminalMonitor& monitor) {
  for (const std::string& warning : plan.warnings) monitor.warning(warning);
}

void check_fallbacks(const lq::Plan& plan, lq::cli::TerminalMonitor& monitor) {
  const double percent = lq::fallback_percent(plan);
  if (percent > options.max_fallback)
    fail(ErrorKind::check, percent,
         " % of the weights cannot have the wanted type; --max-fallback ", "allows ",
         options.max_fallback, " %; nothing was written");
  if (plan.fallbacks() > 0)
    monitor.warning(std::to_string(plan.fallbacks()) + " of " +
                    std::to_string(plan.tensors.size()) +
                    " tensors get another type than wanted (--dry-run lists them)");
}

void write(const lq::Plan& plan, const lq::WriteOptions& writing,
           lq::cli::TerminalMonitor& monitor) {
  const auto begin = std::chrono::steady_clock::now();
  lq::write_plan(plan, options.output, writing, monitor);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::ostringstream note;
  const auto files = lq::share_files(plan, options.output, writing.share);
  note << "wrote " << files.front().string()
       << (files.size() > 1 ? " and " + std::to_string(files.size() - 1) + " more" : "") << ": "
       << std::fixed << std::setprecision(2) << plan.bits_per_weight() << " bits per weight, "
       << lq::cli::human_bytes(static_cast<double>(plan.file_bytes())) << ", " << seconds.count()
       << " s";
  monitor.note(note.str());
}

std::vector<std::filesystem::path> input_files(const lq::TensorSource& source) {
  std::vector<std::filesystem::path> inputs = source.files();
  for (const std::string& file : {importance.imatrix, importance.calibrate})
    if (!file.empty() && file != "-") inputs.emplace_back(file);
  return inputs;
}

/// Everything that is written is seen to before the work.
void check_outputs(const lq::Plan& plan, const lq::TensorSource& source,
                   const lq::WriteOptions& writing) {
  if (options.dry_run) return;
  std::vector<std::filesystem::path> inputs = input_files(source);
  const auto outputs = lq::share_files(plan, options.output, writing.share);
  // A run that was stopped while it named its files is continued with some of them there.
  std::error_code ignored;
  const bool continues =
      writing.resume && std::filesystem::exists(lq::journal_path(outputs.front()), ignored);
  for (const auto& output : outputs)
    lq::check_output(output, continues ? lq::Existing::replace : writing.existing, inputs);
  for (const auto& output : outputs)
    if (!importance.save.empty() && std::filesystem::weakly_canonical(importance.save) ==
                                        std::filesystem::weakly_canonical(output))
      fail(ErrorKind::usage, "--save-imatrix and the output are the same file");
  if (options.report.empty() || options.report == "-") return;
  inputs.insert(inputs.end(), outputs.begin(), outputs.end());
  lq::check_output(options.report, writing.existing, inputs);
}

/// Patterns that change nothing are likely to be mistakes.
void warn_of_unused_patterns(const lq::Plan& plan, const lq::QuantizeOptions& wanted,
                             lq::cli::TerminalMonitor& monitor) {
  for (const lq::TypePattern& pattern : wanted.wishes.patterns) {
    const std::string reason = "--tensor-type " + pattern.regex;
    if (std::none_of(plan.tensors.begin(), plan.tensors.end(), [&](const auto& tensor) {
          return tensor.reason == reason || tensor.reason.starts_with(reason + ": ");
        }))
      monitor.warning("--tensor-type " + lq::quote(pattern.regex) + " decides on no tensor");
  }
}

/// `lq-quantize IN --calibrate TEXT --save-imatrix FILE`
bool only_measures() {
  return options.output.empty() && options.type.empty() && importance.measures() &&
         !importance.save.empty();
}

void measure(const lq::cli::Context& context) {
  if (options.input.empty()) fail(ErrorKind::usage, "INPUT is required");
  const std::filesystem::path inputs[] = {options.input, importance.calibrate};
  const auto existing = context.force ? lq::Existing::replace : lq::Existing::refuse;
  lq::tools::check_importance_arguments(importance, existing, options.resume, inputs);
  const auto matrix =
      lq::tools::obtain_importance(importance, options.input, options.resume, context);
  if (!context.json) return;
  const nlohmann::ordered_json json = {{"schema", "lq.quantize.importance/1"},
                                       {"lq_version", lq::build_info().version},
                                       {"output", importance.save},
                                       {"entries", matrix->entries.size()},
                                       {"chunk_count", matrix->chunk_count},
                                       {"chunk_size", matrix->chunk_size}};
  lq::cli::print(json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
                 "\n");
}

/// The plan, after importance was read or measured. What is wrong without it is found before.
lq::Plan make_plan(const lq::TensorSource& source, lq::QuantizeOptions wanted,
                   const lq::WriteOptions& writing, const lq::cli::Context& context) {
  lq::tools::check_importance_arguments(importance, writing.existing, options.resume,
                                        input_files(source));
  if (importance.measures()) {
    wanted.importance = lq::tools::importance_options(importance, nullptr);
    lq::Plan plan = lq::make_quantize_plan(source, wanted);
    lq::peak_memory_bytes(plan, writing);
    check_outputs(plan, source, writing);
    if (options.dry_run) return plan;
  }
  const auto matrix =
      lq::tools::obtain_importance(importance, options.input, options.resume, context);
  wanted.importance = lq::tools::importance_options(importance, matrix ? &*matrix : nullptr);
  lq::Plan plan = lq::make_quantize_plan(source, wanted);
  check_outputs(plan, source, writing);
  return plan;
}

std::unique_ptr<lq::TensorSource> open_model() {
  auto source = lq::open_source(options.input);
  if (source->format().substr(0, 4) != "GGUF")
    fail(ErrorKind::unsupported, options.input, ": ", source->format(),
         " is not read here; make a GGUF file of it with lq-convert first");
  return source;
}

void execute(const lq::cli::Context& context) {
  if (options.list) return print_list(context.json);
  if (only_measures()) return measure(context);
  settle_positionals();
  if (const lq::WeightScheme* scheme = lq::tools::scheme_asked_for(options))
    return lq::tools::quantize_checkpoint(*scheme, options, checkpoint, importance, context);
  lq::tools::check_arguments(options);
  std::unique_ptr<lq::TensorSource> source;
  if (options.type.empty()) {
    source = open_model();
    lq::tools::settle_target_type(target, *source, options);
  }
  const lq::QuantizeOptions wanted = lq::tools::quantize_options(options);
  if (options.output.empty())
    options.output = lq::default_output(options.input, wanted.recipe).string();
  if (!source) source = open_model();
  std::vector<lq::TensorReport> reports;
  const lq::WriteOptions writing{
      .threads = context.threads,
      .existing = context.force ? lq::Existing::replace : lq::Existing::refuse,
      .memory_limit = options.memory,
      .share = lq::tools::share_of(options),
      .resume = options.resume,
      .check_copies = true,
      .report = options.report.empty() ? nullptr : &reports};
  lq::tools::check_target(target, options, wanted.recipe, writing.existing, input_files(*source));
  lq::Plan plan = make_plan(*source, wanted, writing, context);
  const auto fit = lq::tools::fit_target(target, options, plan, context);
  if (options.dry_run && !context.json)
    lq::cli::print(lq::plan_text(plan, options.output, writing));
  if (fit && !context.json && !context.quiet) lq::cli::print(lq::size_table(*fit));
  show_warnings(plan, context.monitor);
  warn_of_unused_patterns(plan, wanted, context.monitor);
  check_fallbacks(plan, context.monitor);
  if (!options.dry_run) write(plan, writing, context.monitor);
  const lq::SizeFit* fitted = fit ? &*fit : nullptr;
  if (!options.report.empty() && !options.dry_run)
    lq::write_text(options.report, envelope(plan, writing, fitted).dump(1) + "\n",
                   writing.existing);
  if (context.json) lq::cli::print(envelope(plan, writing, fitted).dump() + "\n");
}

constexpr const char* kDescription[] = {
    "Writes a GGUF model again with its weights in fewer bits. A file type is a recipe: most "
    "matrices get its default type, some that matter more get a larger one, and norms, biases and "
    "other small tensors stay as they are. The plan is made and checked before anything is "
    "written; "
    "the output appears under its name only when it is complete.",
    "Rows that are not whole blocks of the wanted type get another one that fits; --dry-run shows "
    "which tensors and why. Weights that are not finite numbers are an error.",
    "With importance (--imatrix, --calibrate) bits go where they matter: the error of a column "
    "counts as much as the squares of what it is multiplied with. The smallest types are only made "
    "with it. Entries of a wrong size, sums that are negative or not finite, and tensors that need "
    "importance and have none are reported before anything is written; so are, as warnings, the "
    "other tensors without an entry and experts that were hardly ever chosen. An expert without a "
    "token gets the same weight for all columns, and so does a matrix whose sums are all zero.",
    "--calibrate runs INPUT over a text, in chunks of --ctx tokens, each read by itself with the "
    "begin token first where the model has one. INPUT has to be of a family that lq-run runs; give "
    "it the model in full precision. With --save-imatrix the sums are written every half minute "
    "and "
    "when the work is interrupted; --resume then goes on after the last whole chunk, with the same "
    "model, text and --ctx, and the result has the same bytes as that of an uninterrupted run.",
    "--target-size and --target-bpw choose the type of every matrix whose type the file type's "
    "rules would choose. Some rows of each are stored as every type that fits them, the loss is "
    "the relative error, by importance where there is some, times how much errors of such a matrix "
    "matter, and types are taken where a byte saves most loss. The table shows the loss at other "
    "sizes.",
    "A model in several files is read whole, from any of them. With --keep-split every file gets "
    "its own output, and none has its name before all are complete. --resume keeps finished work "
    "beside the output and uses it only for the same input, options and version, after comparing "
    "it with its checksums; the file is the same as that of one run.",
    "The bytes are those of llama-quantize, with these exceptions. --prune-layers writes the data "
    "of the layers that stay (there layers get new numbers with the data of others) and shortens "
    "lists with a value for each layer. --override-kv refuses integers that 32 bits without a sign "
    "cannot hold, numbers that are not finite, values of another kind than the model's and keys "
    "that describe the file; there they are bent or written. Patterns of --tensor-type on the "
    "command line come before those of a file. Options that contradict each other, layers that do "
    "not exist and parts that do not belong together are errors. An existing output is replaced "
    "only with --force, and an incomplete one never has the final name.",
    "With a scheme as TYPE (--list) a Hugging Face folder becomes another one that engines on GPUs "
    "load; so does a GGUF file, with what lq-convert to-hf makes of it. The matrices of the layers "
    "are stored as compressed-tensors says, or in the layout that "
    "--format names (NF4, FP4 and INT8 as bitsandbytes says), everything else as it is; its "
    "config.json says how, and the other files of the folder are copied. Embeddings, the output "
    "and routers of experts stay as they are, and so does what --ignore names. --format awq makes "
    "all other tensors F16, as AutoAWQ does.",
    "By default each value is rounded to the nearest. The bytes are those of the packages; "
    "compressed-tensors computes in the type that the model is stored in, but for W4AFP8: it is "
    "packed, as vLLM reads it. GPTQ, AWQ and ModelOpt have no such rounding without calibration: "
    "their scales are computed in binary32 and then held in their type. --method looks for better "
    "scales. transformers loads W4A16_ASYM as gptq_v2 and awq, vLLM as compressed-tensors and awq.",
    "NVFP4, FP8_STATIC and W8A8_STATIC hold scales of activations, too. They need --calibrate: the "
    "model reads a text, and the largest magnitude of what each matrix is multiplied with gives "
    "the "
    "scale; queries, keys and values share one, and so do gate and up. --fp8 e5m2 stores numbers "
    "with more range and less precision; engines take E4M3 only, so that it is for other programs.",
    "Integers are unpacked again as soon as they are packed and have to be those chosen; the new "
    "folder is read back before it gets its name: names, types, shapes and all bytes have to be "
    "those written. A difference ends with status 6. A run that is killed may "
    "leave OUTPUT.lq-partial, which the next run removes. --serve-with knows what the engines "
    "load: formats, group sizes, kernels' multiples and shares of GPUs.",
    "Where llama-quantize stops in the middle or writes what cannot be read: files whose "
    "general.alignment is not 32 are read and written with theirs; weights of four dimensions are "
    "encoded matrix by matrix; a dimension of zero and importance that is negative or above 1e24 "
    "are "
    "errors; "
    "importance that is zero everywhere weighs all columns alike; tensors are weights only when "
    "their name ends in weight, also those with a name of five letters.",
};
constexpr lq::cli::Example kExamples[] = {
    {"lq-quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M", "Quantize to about 4.8 bits a weight"},
    {"lq-quantize --dry-run model-f16.gguf Q3_K_M", "Show the type of every tensor and the size"},
    {"lq-quantize model-f16.gguf out.gguf Q4_K_S --tensor-type 'ffn_down=q6_k'",
     "More bits for some tensors"},
    {"lq-quantize model-f16.gguf out.gguf IQ2_XS --imatrix model.imatrix.gguf",
     "Few bits, spent where they matter"},
    {"lq-quantize model-f16.gguf out.gguf Q3_K_M --calibrate text.txt --save-imatrix im.gguf",
     "Measure what matters, keep it, and quantize"},
    {"lq-quantize imatrix-merge one.gguf two.gguf -o both.gguf", "Add up two importance matrices"},
    {"lq-quantize model-f16.gguf out.gguf --target-size 3.5G --save-tensor-types types.txt",
     "The best file of a size, and what it is made of"},
    {"lq-quantize big-00001-of-00009.gguf out Q4_K_M --keep-split --resume",
     "Quantize a model in parts, and go on after an interruption"},
    {"lq-quantize ./Llama-3.2-1B ./Llama-3.2-1B-W4A16 W4A16",
     "Write a checkpoint with 4-bit weights for vLLM"},
    {"lq-quantize ./Llama-3.2-1B ./Llama-3.2-1B-AWQ W4A16_ASYM --format awq --serve-with vllm:tp=2",
     "The same as AWQ has it, if vLLM loads it on two GPUs"},
};
constexpr lq::cli::Command kCommands[] = {
    {.name = "imatrix-merge",
     .summary = "add up importance matrices that were measured on several texts",
     .declare = lq::tools::declare_merge,
     .execute = lq::tools::execute_merge,
     .common = {.threads = false}},
};

}  // namespace

int main(int argc, char** argv) {
  return lq::cli::run({.name = "lq-quantize",
                       .summary = "store a model's weights in fewer bits",
                       .description = kDescription,
                       .examples = kExamples,
                       .declare = declare,
                       .execute = execute,
                       .commands = kCommands},
                      argc, argv);
}
