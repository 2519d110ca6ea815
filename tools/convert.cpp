// lq-convert: model folders to GGUF and back, and a look into models.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/base/build_info.h"
#include "lib/jobs/convert.h"
#include "lib/jobs/inspect.h"
#include "lib/jobs/stored_scheme.h"
#include "tools/cli/options.h"
#include "tools/cli/tool.h"
#include "tools/convert_to_hf.h"

namespace {

namespace fs = std::filesystem;
using lq::cli::Context;

struct Options {
  std::string input, output, outtype = "auto", name, metadata, pre, mem;
  bool vocab_only = false, compat = false, dry_run = false, list = false;
  lq::InspectParts parts;
} options;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

void declare(CLI::App& app) {
  std::vector<std::string> types = {"auto"};
  for (const auto& row : lq::output_types()) types.push_back(lower(lq::traits(row.type).name));
  app.add_option("MODEL", options.input, "folder of a Hugging Face model")->type_name("FOLDER");
  app.add_option("-o,--outfile,--output", options.output,
                 "file to write; {ftype} stands for the type; without it a conventional name in "
                 "the model's folder")
      ->type_name("FILE");
  app.add_option("--outtype", options.outtype,
                 "type of the matrices; auto keeps that of the checkpoint (F16 for F32)")
      ->transform(lq::cli::choice(types, lq::cli::Case::ignore))
      ->capture_default_str();
  app.add_flag("--vocab-only", options.vocab_only,
               "write the tokenizer without tensors; MODEL may then be a tokenizer.model file");
  app.add_option("--name", options.name, "name of the model (general.name)")->type_name("TEXT");
  app.add_option("--metadata", options.metadata, "JSON file of general.* keys to write")
      ->type_name("FILE");
  app.add_option("--pre", options.pre, "pre-tokenizer, where it cannot be found out")
      ->type_name("NAME");
  app.add_flag("--compat", options.compat,
               "the reference converter's bytes also where they are known to be wrong");
  app.add_option("--mem", options.mem, "upper bound of working memory, such as 512M")
      ->transform(lq::cli::size())
      ->type_name("SIZE");
  app.add_flag("-n,--dry-run", options.dry_run, "print the plan and its size, write nothing");
  app.add_flag("--list", options.list, "list the supported model families and types");
}

void print_json(const char* schema, lq::OrderedJson facts) {
  lq::OrderedJson out = {{"schema", schema}, {"lq_version", lq::build_info().version}};
  out.update(facts);
  lq::cli::print(out.dump(2, ' ', false, lq::OrderedJson::error_handler_t::replace) + "\n");
}

void print_list(const Context& context) {
  auto families = lq::OrderedJson::array(), types = lq::OrderedJson::array();
  auto methods = lq::OrderedJson::array();
  std::string text = "families\n";
  for (const auto& family : lq::supported_families()) {
    std::string names;
    for (const auto& name : family.classes) names += (names.empty() ? "" : ", ") + name;
    families.push_back({{"architecture", family.architecture}, {"classes", family.classes}});
    text += "  " + family.architecture + ": " + names + "\n";
  }
  text += "types\n  auto";
  for (const auto& row : lq::output_types()) {
    types.push_back(lower(lq::traits(row.type).name));
    text += ", " + lower(lq::traits(row.type).name);
  }
  text += "\nquantized folders\n  ";
  for (const char* method : lq::quantization_methods()) {
    text += (methods.empty() ? "" : ", ") + std::string(method);
    methods.push_back(method);
  }
  if (context.json)
    print_json("lq.convert.list/1",
               {{"families", families}, {"types", types}, {"quantized", methods}});
  else
    lq::cli::print(text + "\n");
}

/// The path to write: {ftype} and its relatives in the name stand for the type.
fs::path output_path(const lq::Conversion& conversion) {
  if (options.output.empty()) {
    const fs::path input = options.input;
    return (fs::is_directory(input) ? input : input.parent_path()) / conversion.file_name;
  }
  if (options.output != "-" && fs::is_directory(options.output))
    return fs::path(options.output) / conversion.file_name;
  std::string path = options.output == "-" ? "/dev/stdout" : options.output;
  const auto replace = [&](const std::string& mark, const std::string& text) {
    for (auto at = path.find(mark); at != path.npos; at = path.find(mark, at + text.size()))
      path.replace(at, mark.size(), text);
  };
  for (const char* mark : {"{ftype}", "{outtype}"}) replace(mark, lower(conversion.encoding));
  for (const char* mark : {"{FTYPE}", "{OUTTYPE}"}) replace(mark, conversion.encoding);
  return path;
}

void execute(const Context& context) {
  if (options.list) return print_list(context);
  if (options.input.empty()) lq::fail(lq::ErrorKind::usage, "MODEL is required");
  lq::ConvertOptions request;
  request.input = options.input;
  if (options.outtype != "auto") request.type = lq::dtype_named(options.outtype);
  request.vocab_only = options.vocab_only;
  request.name = options.name;
  request.overrides = options.metadata;
  request.pre = options.pre;
  request.compat = options.compat;
  auto conversion = lq::plan_conversion(request, context.monitor);
  const auto output = output_path(conversion);
  lq::WriteOptions write;
  write.threads = context.threads;
  write.existing = context.force ? lq::Existing::replace : lq::Existing::refuse;
  write.memory_limit = options.mem.empty() ? 0 : std::stoull(options.mem);
  if (options.dry_run) {
    if (context.json)
      print_json("lq.convert.plan/1", lq::plan_json(conversion.plan, output, write));
    else
      lq::cli::print(lq::plan_text(conversion.plan, output, write));
    return;
  }
  lq::check_output(output, write.existing, conversion.inputs);
  lq::write_plan(conversion.plan, output, write, context.monitor);
  if (context.json) {
    print_json("lq.convert.result/1", {{"output", output.string()},
                                       {"bytes", conversion.plan.file_bytes()},
                                       {"tensors", conversion.plan.tensors.size()}});
    return;
  }
  context.monitor.note(output.string() + ": " + std::to_string(conversion.plan.tensors.size()) +
                       " tensors, " + std::to_string(conversion.plan.file_bytes()) + " bytes");
}

void declare_inspect(CLI::App& app) {
  app.add_option("MODEL", options.input,
                 "GGUF file, folder of a Hugging Face model, or importance matrix")
      ->required();
  app.add_flag("--metadata", options.parts.metadata, "show the metadata");
  app.add_flag("--tensors", options.parts.tensors, "show every tensor");
  app.add_flag("--tokens", options.parts.tokens, "show the vocabulary");
}

void execute_inspect(const Context& context) {
  if (context.json)
    print_json("lq.convert.inspect/1",
               lq::inspect_json(options.input, options.parts, context.monitor));
  else
    lq::cli::print(lq::inspect_text(options.input, options.parts, context.monitor));
}

constexpr const char* kDescription[] = {
    "Converts a model from the form in which it was published, a folder with config.json, "
    "safetensors files and a tokenizer, to one GGUF file. The tokenizer comes from "
    "tokenizer.model, tokenizer.json, or vocab.json with merges.txt.",
    "The file is the one that the reference converter writes, byte for byte, but for three cases "
    "in which that file does not work as the model does; --compat gives the reference's bytes "
    "there, too. A checkpoint that stores its only embedding matrix under lm_head.weight gets "
    "token_embd.weight as a copy of output.weight. A vocabulary from a tokenizer.json of "
    "SentencePiece origin gets scores in the order of its merges. And keys named tokenizer.lq.* "
    "are added where the standard keys cannot say what the tokenizer does.",
    "A folder may be quantized already (--list has the methods): its matrices are decoded to the "
    "values that they stand for and stored as the type asked for; those that GGUF has a type for, "
    "NVFP4 and MXFP4, are kept.",
    "to-hf goes the other way: tensors under the names and with the rows that the model's class "
    "has, decoded to --outtype, with config.json, generation_config.json and the tokenizer's "
    "files. "
    "A float file comes back with the bytes that it was made from. Weights are read back and "
    "compared before the folder gets its name.",
};
constexpr lq::cli::Example kExamples[] = {
    {"lq-convert ./TinyLlama-1.1B -o tinyllama.gguf", "Convert a model, keeping its types"},
    {"lq-convert ./Qwen3-0.6B --outtype q8_0 -o 'qwen3-{ftype}.gguf'",
     "Store the matrices in 8 bits"},
    {"lq-convert --dry-run ./Qwen3-0.6B", "Show what would be written"},
    {"lq-convert inspect --tensors qwen3-q8_0.gguf", "List the tensors of a file"},
    {"lq-convert to-hf qwen3-bf16.gguf -o ./Qwen3-again", "Get a model's folder back"},
};
const lq::cli::Command kCommands[] = {
    {.name = "inspect",
     .summary = "show what is inside a GGUF file, a model folder or an importance matrix",
     .declare = declare_inspect,
     .execute = execute_inspect,
     .common = {.threads = false, .force = false}},
    lq::tools::kToHfCommand,
};

}  // namespace

int main(int argc, char** argv) {
  return lq::cli::run({.name = "lq-convert",
                       .summary = "convert a model to GGUF and back, or look into one",
                       .description = kDescription,
                       .examples = kExamples,
                       .declare = declare,
                       .execute = execute,
                       .commands = kCommands},
                      argc, argv);
}
