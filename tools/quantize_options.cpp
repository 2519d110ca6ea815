#include "tools/quantize_options.h"

#include <charconv>
#include <sstream>

#include "lib/base/quote.h"
#include "lib/io/text_file.h"
#include "lib/jobs/overrides.h"
#include "tools/cli/options.h"

namespace lq::tools {
namespace {

std::vector<std::string> storage_types() {
  std::vector<std::string> names;
  for_each_dtype([&](DType, const DTypeTraits& t) {
    if (t.in_gguf()) names.emplace_back(t.name);
  });
  return names;
}

std::optional<DType> type_option(const std::string& name) {
  return name.empty() ? std::nullopt : dtype_named(name);
}

/// `origin` says where the text stands: an option or a file.
TypePattern parse_pattern(const std::string& text, const std::string& origin) {
  const std::size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0)
    fail(ErrorKind::usage, origin, " ", quote(text), " is not of the form REGEX=TYPE");
  const std::string name = text.substr(equals + 1);
  const auto type = dtype_named(name);
  if (!type || !traits(*type).has_codec() || !traits(*type).in_gguf()) {
    std::string known;
    for (const std::string& one : storage_types()) known += (known.empty() ? "" : ", ") + one;
    fail(ErrorKind::usage, origin, " ", quote(text), ": unknown type ", quote(name), "; types are ",
         known);
  }
  std::string regex = text.substr(0, equals);
  for (char& c : regex)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return {std::move(regex), *type};
}

/// Those of the command line come first: they are meant to change what a file says.
std::vector<TypePattern> type_patterns(const QuantizeArguments& arguments) {
  std::vector<TypePattern> patterns;
  for (const std::string& text : arguments.tensor_types)
    patterns.push_back(parse_pattern(text, "--tensor-type"));
  if (arguments.tensor_type_file.empty()) return patterns;
  std::istringstream words(read_text(arguments.tensor_type_file));
  std::size_t n = 0;
  for (std::string word; words >> word; ++n)
    patterns.push_back(parse_pattern(word, arguments.tensor_type_file + ":"));
  if (n == 0) fail(ErrorKind::usage, arguments.tensor_type_file, ": has no REGEX=TYPE");
  return patterns;
}

/// Whole number of at most `most`; nothing for other texts.
std::optional<std::size_t> parse_count(std::string_view text, std::size_t most) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > most)
    return std::nullopt;
  return number;
}

std::vector<int> layer_list(const std::string& text) {
  constexpr std::size_t kMostLayers = 1 << 20;
  std::vector<int> layers;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    const auto layer = parse_count(word, kMostLayers);
    if (!layer)
      fail(ErrorKind::usage, "--prune-layers ", quote(text), ": ", quote(word),
           " is not the number of a layer; expected numbers with commas between");
    layers.push_back(static_cast<int>(*layer));
  }
  return layers;
}

void declare_types(CLI::App& app, QuantizeArguments& arguments) {
  app.add_flag("--pure", arguments.pure,
               "one type for all matrices instead of the file type's mixture");
  app.add_option("--tensor-type", arguments.tensor_types,
                 "another type for tensors whose name has a match of REGEX; the first that matches "
                 "counts")
      ->type_name("REGEX=TYPE")
      ->allow_extra_args(false);
  app.add_option("--tensor-type-file", arguments.tensor_type_file,
                 "read more of --tensor-type, with spaces or line ends between; those of the "
                 "command line count first")
      ->type_name("FILE");
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
}

void declare_content(CLI::App& app, QuantizeArguments& arguments) {
  app.add_option("--override-kv", arguments.overrides,
                 "give a metadata key another value, or add one; TYPE is int (from 0 to "
                 "4294967295), float, bool or str")
      ->type_name("KEY=TYPE:VALUE")
      ->allow_extra_args(false);
  app.add_option("--prune-layers", arguments.prune_layers,
                 "leave out these layers; the others are numbered anew")
      ->type_name("N,N...");
  app.add_flag("--keep-split", arguments.keep_split,
               "write a file for each of the model's, with its tensors in their order: "
               "OUTPUT-00001-of-0000N.gguf");
  app.add_option("--part", arguments.part,
                 "with --keep-split: write only the K-th of N shares of the files, so that several "
                 "machines can share the work")
      ->type_name("K/N");
  app.add_flag("--resume", arguments.resume,
               "keep what is done when stopped (OUTPUT.lq-partial, OUTPUT.lq-journal) and go on "
               "there when given again; --calibrate goes on after the chunks that are in the file "
               "of --save-imatrix");
  // People look for these; what they get is an explanation.
  app.add_flag("--stdin,--stdout", arguments.streams)->group("");
}

}  // namespace

void declare_quantize(CLI::App& app, QuantizeArguments& arguments) {
  app.add_option("INPUT", arguments.input,
                 "GGUF model to read, of a split model any part; for a scheme also a Hugging Face "
                 "folder");
  app.add_option("OUTPUT", arguments.output,
                 "file, or for a scheme folder, to write; when left out, ggml-model-TYPE.gguf "
                 "beside INPUT");
  app.add_option("TYPE", arguments.type,
                 "file type such as Q4_K_M, its number, or COPY; or a scheme such as W4A16; case "
                 "does not matter (--list)");
  app.add_flag("-n,--dry-run", arguments.dry_run, "show what would be done and write nothing");
  app.add_flag("--list", arguments.list, "show the file types and schemes, and end");
  declare_types(app, arguments);
  declare_content(app, arguments);
  app.add_option("--report", arguments.report,
                 "write what was done and how far the stored values are from what they were")
      ->type_name("FILE.json");
  app.add_option("--mem", arguments.memory,
                 "bound of working memory (default 128M; for schemes none)")
      ->type_name("SIZE")
      ->transform(cli::size());
}

void check_arguments(const QuantizeArguments& arguments) {
  if (arguments.streams || arguments.input == "-" || arguments.output == "-")
    fail(ErrorKind::usage,
         "models are read from and written to files only, because they are mapped; standard input "
         "and output cannot be");
  if (arguments.leave_output && !arguments.output_type.empty())
    fail(ErrorKind::usage, "--leave-output-tensor and --output-tensor-type contradict each other");
  if (!arguments.part.empty() && !arguments.keep_split)
    fail(ErrorKind::usage, "--part shares the files of a split model; give --keep-split, too");
  if (arguments.dry_run && !arguments.report.empty())
    fail(ErrorKind::usage, "--dry-run writes nothing, also no --report; --json shows the plan");
}

Share share_of(const QuantizeArguments& arguments) {
  constexpr std::size_t kMostParts = 65535;
  if (arguments.part.empty()) return {};
  const std::size_t slash = arguments.part.find('/');
  const std::string_view text = arguments.part;
  const auto k = parse_count(text.substr(0, slash), kMostParts);
  const auto n =
      slash == text.npos ? std::nullopt : parse_count(text.substr(slash + 1), kMostParts);
  if (!k || !n || *k == 0 || *k > *n)
    fail(ErrorKind::usage, "--part ", quote(text), ": expected K/N with K from 1 to N");
  return {*k, *n};
}

QuantizeOptions quantize_options(const QuantizeArguments& arguments) {
  QuantizeOptions result;
  result.recipe = find_quantize_type(arguments.type);
  result.keep_split = arguments.keep_split;
  result.prune_layers = layer_list(arguments.prune_layers);
  for (const std::string& text : arguments.overrides)
    result.overrides.push_back(parse_override(text));
  result.allow_requantize = arguments.allow_requantize;
  result.wishes = {.pure = arguments.pure,
                   .leave_output = arguments.leave_output,
                   .output = type_option(arguments.output_type),
                   .embedding = type_option(arguments.embedding_type),
                   .patterns = type_patterns(arguments)};
  const TypeWishes& wishes = result.wishes;
  if (!result.recipe && (wishes.pure || wishes.leave_output || wishes.output || wishes.embedding ||
                         !wishes.patterns.empty()))
    fail(ErrorKind::usage, kCopyName, " keeps every type; options that choose types contradict it");
  return result;
}

}  // namespace lq::tools
