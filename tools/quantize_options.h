#pragma once
// The options of lq-quantize, and what they ask of the jobs.
#include "lib/jobs/quantize.h"
#include "tools/cli/tool.h"

namespace lq::tools {

/// As given on the command line.
struct QuantizeArguments {
  std::string input, output, type;
  std::vector<std::string> tensor_types;
  std::string output_type, embedding_type, report;
  bool pure = false, leave_output = false, allow_requantize = false, dry_run = false, list = false;
  bool resume = false;
  double max_fallback = 100;
  std::uint64_t memory = 0;
};

/// Fills `arguments`, which outlive the parser.
void declare_quantize(CLI::App& app, QuantizeArguments& arguments);

/// Throws Error(usage | unsupported) for types and patterns that make no sense.
QuantizeOptions quantize_options(const QuantizeArguments& arguments);

}  // namespace lq::tools
