#include "tools/convert_to_hf.h"

#include <filesystem>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/build_info.h"
#include "lib/base/quote.h"
#include "lib/jobs/checkpoint.h"
#include "tools/cli/options.h"

namespace lq::tools {
namespace {

struct ToHfOptions {
  std::string input, output, outtype = "auto";
  std::uint64_t max_shard = CheckpointOptions{}.max_shard_bytes;
  bool dry_run = false;
} to_hf;

void declare_to_hf(CLI::App& app) {
  app.add_option("MODEL", to_hf.input, "GGUF file; of a model in parts any of them")
      ->type_name("FILE")
      ->required();
  app.add_option("-o,--output", to_hf.output, "folder to write")->type_name("FOLDER")->required();
  app.add_option("--outtype", to_hf.outtype,
                 "type of the tensors; auto: bf16, or f16 or f32 when most of the file is that")
      ->transform(cli::choice({"auto", "bf16", "f16", "f32"}, cli::Case::ignore))
      ->capture_default_str();
  app.add_option("--max-shard-size", to_hf.max_shard,
                 "largest size of a weights file (default: 5GB)")
      ->type_name("SIZE")
      ->transform(cli::size());
  app.add_flag("-n,--dry-run", to_hf.dry_run, "print what would be written, write nothing");
}

/// Files beside the weights: config.json and those that are made.
std::vector<std::string> other_names(const HfModel& model) {
  std::vector<std::string> names = {"config.json"};
  for (const ConfigFile& file : model.made_files) names.push_back(file.name);
  return names;
}

std::string plan_lines(const HfModel& model, const CheckpointPlan& plan) {
  std::ostringstream out;
  std::size_t width = 6;
  for (const auto& tensor : model.tensors)
    width = std::max(width, quote_unless_plain(tensor.made.output.name).size());
  for (const auto& tensor : model.tensors) {
    auto shape = tensor.made.output.shape;
    std::reverse(shape.begin(), shape.end());
    out << std::left << std::setw(static_cast<int>(width))
        << quote_unless_plain(tensor.made.output.name) << "  " << tensor.stored_as << "  "
        << shape_text(shape) << '\n';
  }
  for (const std::string& name : other_names(model)) out << name << '\n';
  out << model.tensors.size() << " tensors, " << plan.total_bytes() << " bytes in "
      << plan.files.size() << (plan.files.size() == 1 ? " file\n" : " files\n");
  return out.str();
}

OrderedJson facts(const HfModel& model, const CheckpointPlan& plan) {
  OrderedJson tensors = OrderedJson::array();
  for (const auto& tensor : model.tensors) {
    auto shape = tensor.made.output.shape;
    std::reverse(shape.begin(), shape.end());
    tensors.push_back({{"name", tensor.made.output.name},
                       {"shape", shape},
                       {"type", tensor.stored_as},
                       {"bytes", tensor.bytes}});
  }
  return {{"schema", "lq.convert.to-hf/1"},
          {"lq_version", build_info().version},
          {"settings", {{"outtype", to_hf.outtype}, {"max_shard_bytes", to_hf.max_shard}}},
          {"written", !to_hf.dry_run},
          {"input", to_hf.input},
          {"output", to_hf.output},
          {"files", plan.file_names()},
          {"other_files", other_names(model)},
          {"total_bytes", plan.total_bytes()},
          {"tensors", std::move(tensors)}};
}

void execute_to_hf(const cli::Context& context) {
  if (std::filesystem::is_directory(to_hf.input))
    fail(ErrorKind::usage, to_hf.input, ": is a folder; to-hf is for GGUF files");
  HfModelOptions options;
  if (to_hf.outtype != "auto") options.type = dtype_named(to_hf.outtype);
  const HfModel model = open_hf_model(to_hf.input, options, context.monitor);
  CheckpointPlan plan = make_folder_plan(model, to_hf.max_shard);
  if (to_hf.dry_run) {
    if (!context.json) cli::print(plan_lines(model, plan));
  } else {
    write_checkpoint(plan, to_hf.output,
                     {.threads = context.threads,
                      .existing = context.force ? Existing::replace : Existing::refuse},
                     context.monitor);
    context.monitor.note(to_hf.output + ": " + std::to_string(model.tensors.size()) + " tensors, " +
                         std::to_string(plan.total_bytes()) + " bytes");
  }
  if (context.json)
    cli::print(facts(model, plan).dump(2, ' ', false, OrderedJson::error_handler_t::replace) +
               "\n");
}

}  // namespace

const cli::Command kToHfCommand = {
    .name = "to-hf",
    .summary = "write a GGUF file as a Hugging Face folder again",
    .declare = declare_to_hf,
    .execute = execute_to_hf,
};

}  // namespace lq::tools
