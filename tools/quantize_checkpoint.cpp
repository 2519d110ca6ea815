#include "tools/quantize_checkpoint.h"

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/build_info.h"
#include "lib/base/quote.h"
#include "lib/jobs/checkpoint.h"
#include "lib/jobs/input_peaks.h"
#include "lib/jobs/serving.h"
#include "lib/jobs/weight_method.h"
#include "tools/cli/options.h"

namespace lq::tools {
namespace {

const CLI::App* parser = nullptr;

constexpr const char* kGroup = "Checkpoints for GPU engines (TYPE is a scheme)";
/// Options that go with schemes and file types alike.
constexpr std::string_view kShared[] = {"INPUT",     "OUTPUT",   "TYPE",
                                        "--dry-run", "--resume", "--mem"};

/// Those of importance that schemes with measured scales of activations take.
constexpr std::string_view kMeasuring[] = {"--calibrate", "--ctx", "--chunks", "--parse-special"};

bool is_measuring(const CLI::Option& option) {
  return std::find(std::begin(kMeasuring), std::end(kMeasuring), option.get_name()) !=
         std::end(kMeasuring);
}

bool is_common(const CLI::Option& option) {
  return option.get_group().rfind("Common", 0) == 0 ||
         std::find(std::begin(kShared), std::end(kShared), option.get_name()) != std::end(kShared);
}

std::vector<std::string> layout_names() {
  std::vector<std::string> names;
  for (const LayoutTraits& layout : weight_layouts()) names.push_back(layout.name);
  return names;
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const WeightMethod& method : weight_methods()) names.push_back(method.name);
  return names;
}

/// "NAME: what it is; ..." of a list's rows.
template <class Rows>
std::string explained(const Rows& rows) {
  std::string text;
  for (const auto& row : rows) text += (text.empty() ? "" : "; ") + row.name + ": " + row.what;
  return text;
}

/// Null for schemes of other numbers.
OrderedJson float8_name(const WeightScheme& scheme) {
  if (!scheme.is_float8()) return nullptr;
  return scheme.number == WeightNumber::e5m2 ? "e5m2" : "e4m3";
}

OrderedJson envelope(const CheckpointPlan& plan, const std::string& output, bool written) {
  OrderedJson json = {{"schema", "lq.quantize.checkpoint/1"},
                      {"lq_version", build_info().version},
                      {"settings",
                       {{"scheme", plan.scheme.name},
                        {"group_size", plan.scheme.group_size},
                        {"symmetric", plan.scheme.symmetric},
                        {"method", plan.scheme.method},
                        {"double_quant", plan.scheme.nested},
                        {"fp8", float8_name(plan.scheme)},
                        {"ignored", plan.ignored}}},
                      {"written", written}};
  json.update(checkpoint_json(plan, output));
  return json;
}

}  // namespace

void declare_checkpoint(CLI::App& app, CheckpointArguments& arguments) {
  parser = &app;
  app.add_option(
         "--format", arguments.choices.format,
         "layout (default: the first that holds the scheme); " + explained(weight_layouts()))
      ->type_name("NAME")
      ->check(cli::choice(layout_names()))
      ->group(kGroup);
  app.add_option("--method", arguments.choices.method,
                 "how integers are chosen (default: rtn); " + explained(weight_methods()))
      ->type_name("NAME")
      ->check(cli::choice(method_names()))
      ->group(kGroup);
  app.add_option("--group-size", arguments.choices.group_size,
                 "columns that share a scale; channel: a whole row")
      ->type_name("N")
      ->check(cli::choice({"32", "64", "128", "channel"}))
      ->group(kGroup);
  app.add_option("--scale-dtype", arguments.choices.scale_type,
                 "type of the scales; f32: compute and store them in binary32, which is nearer to "
                 "the weights than the package's own arithmetic (default: the model's)")
      ->type_name("TYPE")
      ->check(cli::choice({"f32"}))
      ->group(kGroup);
  app.add_option("--fp8", arguments.choices.float8,
                 "8-bit floats of FP8 and FP8_BLOCK (default: e4m3); e5m2, which no engine here "
                 "loads, with --format fp8")
      ->type_name("TYPE")
      ->check(cli::choice({"e4m3", "e5m2"}))
      ->group(kGroup);
  app.add_flag("--double-quant", arguments.choices.double_quant,
               "NF4 and FP4: store the scales as 8-bit codes, too")
      ->group(kGroup);
  std::string names;
  for (const Engine& engine : engines()) names += (names.empty() ? "" : ", ") + engine.name;
  app.add_option(
         "--serve-with", arguments.serve_with,
         "end with status 4 before any work when this engine, on N GPUs, would not load the "
         "checkpoint, and name the nearest settings that work; " +
             names)
      ->type_name("ENGINE[:tp=N]")
      ->group(kGroup);
  app.add_option("--ignore", arguments.ignore,
                 "keep matrices whose module's name holds a match of REGEX; may be repeated")
      ->type_name("REGEX")
      ->take_all()
      ->group(kGroup);
  app.add_option(
         "--source-dtype", arguments.source_type,
         "of a GGUF file: type of the model, in which scales are computed and other tensors "
         "stored (default: bf16, or f16 or f32 when most of the file is that)")
      ->type_name("TYPE")
      ->check(cli::choice({"bf16", "f16", "f32"}))
      ->group(kGroup);
  app.add_option("--max-shard-size", arguments.max_shard,
                 "largest size of a weights file (default: 5GB)")
      ->type_name("SIZE")
      ->transform(cli::size())
      ->group(kGroup);
}

const WeightScheme* scheme_asked_for(const QuantizeArguments& arguments) {
  const WeightScheme* scheme = find_weight_scheme(arguments.type);
  for (const CLI::Option* option : parser->get_options()) {
    if (option->count() == 0 || is_common(*option)) continue;
    const bool of_schemes = option->get_group() == kGroup;
    if (scheme && scheme->measures_inputs() && is_measuring(*option)) continue;
    if (scheme && !of_schemes)
      fail(ErrorKind::usage, option->get_name(), " does not go with ", scheme->name,
           ": it is for GGUF files");
    if (!scheme && of_schemes)
      fail(ErrorKind::usage, option->get_name(),
           " goes with schemes for GPU engines only, such as W4A16 (--list)");
  }
  return scheme;
}

void quantize_checkpoint(const WeightScheme& scheme, const QuantizeArguments& arguments,
                         const CheckpointArguments& own, const ImportanceArguments& importance,
                         const cli::Context& context) {
  if (scheme.measures_inputs() && !importance.measures())
    fail(ErrorKind::usage, scheme.name,
         " needs --calibrate TEXT: it holds scales of activations, which are measured while the "
         "model reads a text");
  std::optional<ServeTarget> target;
  if (!own.serve_with.empty()) target = parse_serve_target(own.serve_with);
  if (arguments.output.empty())
    fail(ErrorKind::usage, "OUTPUT is required: the folder of the new checkpoint");
  const std::filesystem::path input = arguments.input;
  HfModelOptions reading;
  if (!own.source_type.empty()) reading.type = dtype_named(own.source_type);
  const HfModel source = open_hf_model(input, reading, context.monitor);
  CheckpointOptions options{.scheme = with_choices(scheme, own.choices), .ignore = own.ignore};
  if (own.max_shard > 0) options.max_shard_bytes = own.max_shard;
  CheckpointPlan plan = make_checkpoint_plan(source, options);
  if (target) check_serving(*target, plan);
  const Existing existing = context.force ? Existing::replace : Existing::refuse;
  if (arguments.dry_run) {
    if (!context.json) cli::print(checkpoint_text(plan));
  } else {
    const auto begin = std::chrono::steady_clock::now();
    if (scheme.measures_inputs()) {
      // Not after the model has read for an hour; a run that goes on finds its own output.
      if (!arguments.resume) check_checkpoint_output(plan, arguments.output, existing);
      set_input_peaks(plan, measure_inputs(source,
                                           {.text = importance.calibrate,
                                            .chunk_size = importance.chunk_size,
                                            .max_chunks = importance.chunks,
                                            .parse_special = importance.parse_special,
                                            .threads = context.threads},
                                           context.monitor));
    }
    write_checkpoint(plan, arguments.output,
                     {.threads = context.threads,
                      .existing = existing,
                      .memory_limit = arguments.memory,
                      .resume = arguments.resume},
                     context.monitor);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::ostringstream note;
    note << "wrote " << arguments.output << ": " << plan.n_quantized() << " matrices as "
         << plan.scheme.name << ", " << std::fixed << std::setprecision(2) << plan.bits_per_weight()
         << " bits per weight, " << cli::human_bytes(static_cast<double>(plan.total_bytes()))
         << ", " << seconds.count() << " s";
    context.monitor.note(note.str());
  }
  if (context.json)
    cli::print(envelope(plan, arguments.output, !arguments.dry_run)
                   .dump(-1, ' ', false, OrderedJson::error_handler_t::replace) +
               "\n");
}

}  // namespace lq::tools
