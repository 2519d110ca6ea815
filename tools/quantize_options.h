#pragma once
// The options of lq-quantize, and what they ask of the jobs.
#include "lib/jobs/quantize.h"
#include "tools/cli/tool.h"

namespace lq::tools {

/// As given on the command line.
struct QuantizeArguments {
  std::string input, output, type;
  std::vector<std::string> tensor_types, overrides;
  std::string tensor_type_file, prune_layers, part;
  bool keep_split = false, resume = false, streams = false;
  std::string output_type, embedding_type, report;
  bool pure = false, leave_output = false, allow_requantize = false, dry_run = false, list = false;
  double max_fallback = 100;
  std::uint64_t memory = 0;
};

/// Fills `arguments`, which outlive the parser.
void declare_quantize(CLI::App& app, QuantizeArguments& arguments);

/// Throws Error(usage) for options that contradict each other.
void check_arguments(const QuantizeArguments& arguments);

/// The share of the output's files that --part asks for. Throws Error(usage).
Share share_of(const QuantizeArguments& arguments);

/// Throws Error(usage | unsupported | file) for types, patterns and lists that make no sense.
QuantizeOptions quantize_options(const QuantizeArguments& arguments);

}  // namespace lq::tools
