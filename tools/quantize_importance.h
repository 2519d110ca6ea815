#pragma once
// The options of lq-quantize that say where importance comes from, and imatrix-merge.
#include <filesystem>
#include <optional>

#include "lib/jobs/quantize_importance.h"
#include "tools/cli/tool.h"

namespace lq::tools {

/// As given on the command line.
struct ImportanceArguments {
  std::string imatrix, calibrate, save, on_missing = "error";
  std::vector<std::string> include, exclude;
  int min_expert_tokens = 64, chunks = 0, chunk_size = kDefaultChunkSize;
  bool process_output = false, parse_special = false;

  bool measures() const { return !calibrate.empty(); }
};

/// Fills `arguments`, which outlive the parser.
void declare_importance(CLI::App& app, ImportanceArguments& arguments);

/// Throws Error(usage) for options that contradict each other, and for files that cannot be
/// written or would replace an input.
void check_importance_arguments(const ImportanceArguments& arguments, Existing existing,
                                bool resume, std::span<const std::filesystem::path> inputs);

/// Reads the matrix, or measures it with the model at `model`; nothing when none is asked for.
std::optional<ImportanceMatrix> obtain_importance(const ImportanceArguments& arguments,
                                                  const std::filesystem::path& model, bool resume,
                                                  const cli::Context& context);

/// `matrix` (null: none) outlives the result.
ImportanceOptions importance_options(const ImportanceArguments& arguments,
                                     const ImportanceMatrix* matrix);

/// lq-quantize imatrix-merge
void declare_merge(CLI::App& app);
void execute_merge(const cli::Context& context);

}  // namespace lq::tools
