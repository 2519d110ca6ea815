#include "tools/quantize_options.h"

#include "lib/base/quote.h"
#include "tools/cli/options.h"

namespace lq::tools {
namespace {

std::vector<std::string> storage_types() {
  std::vector<std::string> names;
  for_each_dtype([&](DType, const DTypeTraits& t) { names.emplace_back(t.name); });
  return names;
}

std::optional<DType> type_option(const std::string& name) {
  return name.empty() ? std::nullopt : dtype_named(name);
}

std::vector<TypePattern> type_patterns(const QuantizeArguments& arguments) {
  std::vector<TypePattern> patterns;
  const std::vector<std::string> names = storage_types();
  for (const std::string& text : arguments.tensor_types) {
    const std::size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0)
      fail(ErrorKind::usage, "--tensor-type ", quote(text), " is not of the form REGEX=TYPE");
    const std::string name = text.substr(equals + 1);
    const auto type = dtype_named(name);
    if (!type || !traits(*type).has_codec()) {
      std::string known;
      for (const std::string& one : names) known += (known.empty() ? "" : ", ") + one;
      fail(ErrorKind::usage, "--tensor-type ", quote(text), ": unknown type ", quote(name),
           "; types are ", known);
    }
    std::string regex = text.substr(0, equals);
    for (char& c : regex)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    patterns.push_back({std::move(regex), *type});
  }
  return patterns;
}

}  // namespace

void declare_quantize(CLI::App& app, QuantizeArguments& arguments) {
  app.add_option("INPUT", arguments.input, "GGUF model to read; of a split model any part");
  app.add_option("OUTPUT", arguments.output,
                 "file to write; when left out, ggml-model-TYPE.gguf beside INPUT");
  app.add_option("TYPE", arguments.type,
                 "file type such as Q4_K_M, its number, or COPY; case does not matter (--list)");
  app.add_flag("-n,--dry-run", arguments.dry_run, "show what would be done and write nothing");
  app.add_flag("--list", arguments.list, "show the file types and end");
  app.add_flag("--pure", arguments.pure,
               "one type for all matrices instead of the file type's mixture");
  app.add_option("--tensor-type", arguments.tensor_types,
                 "another type for tensors whose name has a match of REGEX; the first that matches "
                 "counts")
      ->type_name("REGEX=TYPE")
      ->allow_extra_args(false);
  app.add_option("--output-tensor-type", arguments.output_type, "type of output.weight")
      ->type_name("TYPE")
      ->transform(cli::choice(storage_types(), cli::Case::ignore));
  app.add_option("--token-embedding-type", arguments.embedding_type, "type of the token embedding")
      ->type_name("TYPE")
      ->transform(cli::choice(storage_types(), cli::Case::ignore));
  app.add_flag("--leave-output-tensor", arguments.leave_output, "keep output.weight as it is");
  app.add_flag("--allow-requantize", arguments.allow_requantize,
               "also start from tensors that have lost bits already");
  app.add_option("--max-fallback", arguments.max_fallback,
                 "end with status 6 and write nothing when more than this share of the weights "
                 "cannot have the type that the recipe wants")
      ->type_name("PERCENT")
      ->check(cli::number(0, 100));
  app.add_option("--report", arguments.report,
                 "write what was done and how far the stored values are from what they were")
      ->type_name("FILE.json");
  app.add_flag("--resume", arguments.resume,
               "go on where an interrupted run stopped: after the chunks that are in the file of "
               "--save-imatrix");
  app.add_option("--mem", arguments.memory, "bound of working memory (default 128M)")
      ->type_name("SIZE")
      ->transform(cli::size());
}

QuantizeOptions quantize_options(const QuantizeArguments& arguments) {
  QuantizeOptions result;
  result.recipe = find_quantize_type(arguments.type);
  result.allow_requantize = arguments.allow_requantize;
  result.wishes = {.pure = arguments.pure,
                   .leave_output = arguments.leave_output,
                   .output = type_option(arguments.output_type),
                   .embedding = type_option(arguments.embedding_type),
                   .patterns = type_patterns(arguments)};
  return result;
}

}  // namespace lq::tools
