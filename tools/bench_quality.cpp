#include "tools/bench_quality.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/jobs/bench_quality.h"
#include "lib/jobs/bench_report.h"
#include "tools/cli/options.h"
#include "tools/cli/tables.h"
#include "tools/kv_type.h"

namespace lq::tools {
namespace {

struct QualityArguments {
  std::vector<std::string> models;
  std::string text, reference, base, save_logits;
  int n_ctx = 0, chunks = 0;
  std::string output = "text", kv_type = "f16";
  bool exact = false, no_hash = false;
} quality_arguments;

/// What a case comes to; without a reference `divergence` is empty.
struct Figures {
  Estimate perplexity;
  Divergence divergence;
};

/// One row a figure: its column of the table, and its columns of CSV files.
struct Figure {
  const char* key;
  const char* title;   ///< null: in CSV files only
  const char* format;  ///< of the table
  double factor;       ///< there
  bool compared;       ///< only with a reference
  Estimate (*of)(const Figures&);
};
constexpr Figure kFigures[] = {
    {"perplexity", "perplexity", "%.4f +- %.4f", 1, false,
     [](const Figures& f) { return f.perplexity; }},
    {"base_perplexity", nullptr, "", 1, true,
     [](const Figures& f) { return f.divergence.base_perplexity; }},
    {"perplexity_ratio", "to reference", "%.5f +- %.5f", 1, true,
     [](const Figures& f) { return f.divergence.ratio; }},
    {"log_perplexity_ratio", nullptr, "", 1, true,
     [](const Figures& f) { return f.divergence.log_ratio; }},
    {"perplexity_difference", nullptr, "", 1, true,
     [](const Figures& f) { return f.divergence.difference; }},
    {"kld", "KL divergence", "%.6f +- %.6f", 1, true,
     [](const Figures& f) { return f.divergence.mean; }},
    {"probability_change", nullptr, "", 1, true,
     [](const Figures& f) { return f.divergence.change; }},
    {"probability_change_rms", "RMS dp %", "%.3f +- %.3f", 100, true,
     [](const Figures& f) { return f.divergence.change_rms; }},
    {"same_top", "same top %", "%.2f +- %.2f", 100, true,
     [](const Figures& f) { return f.divergence.same_top; }},
};

template <class... Values>
std::string number_text(const char* format, Values... values) {
  char text[96];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

/// As many digits as a program can want; nothing for what is not a number.
std::string csv_number(double value) {
  return std::isfinite(value) ? number_text("%.9g", value) : "";
}

std::string short_name(const std::string& model) {
  const std::filesystem::path path(model);
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

bool comparing() { return !quality_arguments.reference.empty() || !quality_arguments.base.empty(); }

cli::Table empty_table() {
  std::size_t longest = 0;
  for (const std::string& model : quality_arguments.models)
    longest = std::max(longest, cli::display_width(short_name(model)));
  cli::Table table{.columns = {{"model", cli::Align::left, longest},
                               {"type", cli::Align::left, longest_type_name()},
                               {"size", cli::Align::right, 10},
                               {"bits/weight", cli::Align::right},
                               {"chunks", cli::Align::right}},
                   .rows = {}};
  for (const Figure& figure : kFigures)
    if (figure.title && (comparing() || !figure.compared))
      table.columns.push_back({figure.title, cli::Align::right, 18});
  return table;
}

void add_row(cli::Table& table, const QualityCase& c, const Figures& figures) {
  auto& row = table.rows.emplace_back();
  row = {short_name(c.model), c.weight_type, cli::human_bytes(static_cast<double>(c.model_bytes)),
         number_text("%.2f", c.bits_per_weight()), std::to_string(c.n_chunks)};
  for (const Figure& figure : kFigures) {
    if (!figure.title || (figure.compared && !c.compared)) continue;
    const Estimate estimate = figure.of(figures);
    row.push_back(
        number_text(figure.format, figure.factor * estimate.value, figure.factor * estimate.error));
  }
}

cli::Table empty_csv() {
  cli::Table table;
  for (const char* key : {"model", "weight_type", "model_bytes", "bits_per_weight", "n_ctx",
                          "n_chunks", "scored_tokens"})
    table.columns.push_back({key});
  for (const Figure& figure : kFigures) {
    if (figure.compared && !comparing()) continue;
    table.columns.push_back({figure.key});
    table.columns.push_back({std::string(figure.key) + "_error"});
  }
  if (!comparing()) return table;
  table.columns.push_back({"log_perplexity_correlation"});
  for (const char* of : {"kld_", "probability_change_"})
    for (const Quantile& quantile : quantiles())
      table.columns.push_back({of + std::string(quantile.key)});
  return table;
}

void add_csv_row(cli::Table& table, const QualityCase& c, const Figures& figures) {
  auto& row = table.rows.emplace_back();
  row = {c.model,
         c.weight_type,
         std::to_string(c.model_bytes),
         csv_number(c.bits_per_weight()),
         std::to_string(c.n_ctx),
         std::to_string(c.n_chunks),
         std::to_string(c.scores.size())};
  for (const Figure& figure : kFigures) {
    if (figure.compared && !c.compared) continue;
    row.push_back(csv_number(figure.of(figures).value));
    row.push_back(csv_number(figure.of(figures).error));
  }
  if (!c.compared) return;
  row.push_back(csv_number(figures.divergence.correlation));
  for (const auto* values : {&figures.divergence.quantiles, &figures.divergence.change_quantiles})
    for (const float value : *values) row.push_back(csv_number(static_cast<double>(value)));
}

/// Rows of a report as they come.
class QualityPrinter {
 public:
  explicit QualityPrinter(std::string form)
      : form_(std::move(form)), table_(form_ == "csv" ? empty_csv() : empty_table()) {}

  void add(const QualityReport& report) {
    const QualityCase& c = report.cases.back();
    if (form_ == "json") return;
    if (form_ == "jsonl") {
      QualityReport one = report;
      one.cases = {c};
      return cli::print(to_json(one).dump() + "\n");
    }
    figures_.push_back({.perplexity = perplexity_of(c.scores),
                        .divergence = c.compared ? divergence_of(c.scores) : Divergence{}});
    (form_ == "csv" ? add_csv_row : add_row)(table_, c, figures_.back());
    cli::print(table_.rows.size() == 1 ? cli::write_table(table_, form_)
                                       : cli::write_last_row(table_, form_));
  }

  void finish(const QualityReport& report) const {
    if (form_ == "json") return cli::print(to_json(report).dump(2) + "\n");
    if (form_ == "jsonl" || form_ == "csv") return;
    if (comparing()) {
      print_quantiles(report, "KL divergence in nats", "%.6f", 1, &Divergence::quantiles);
      print_quantiles(report, "change dp of the right token's probability in per cent", "%.3f", 100,
                      &Divergence::change_quantiles);
    }
    print_notes(report);
  }

 private:
  void print_quantiles(const QualityReport& report, const std::string& title, const char* format,
                       double factor, std::vector<float> Divergence::*values) const {
    cli::Table table{.columns = {{"model"}}, .rows = {}};
    for (const Quantile& quantile : quantiles())
      table.columns.push_back({quantile.title, cli::Align::right});
    for (std::size_t i = 0; i < figures_.size(); ++i) {
      auto& row = table.rows.emplace_back();
      row.push_back(short_name(report.cases[i].model));
      for (const float value : figures_[i].divergence.*values)
        row.push_back(number_text(format, factor * static_cast<double>(value)));
    }
    cli::print("\n" + title + ":\n" + (form_ == "md" ? "\n" : "") + cli::write_table(table, form_));
  }

  void print_notes(const QualityReport& report) const {
    const QualityCase& c = report.cases.front();
    const std::string text = report.text.empty() ? "the reference's text" : report.text;
    cli::print("\n" + text + " in chunks of " + std::to_string(c.n_ctx) +
               " tokens, the second half of each scored: " + std::to_string(c.scores.size()) +
               " tokens; +-: standard error\n" +
               (c.exact ? "products in binary32"
                        : "as models run here: types of few bits with activations of 8 bits") +
               "; cache " + c.kv_type + "; " + c.device + " " + c.isa + "\n");
    if (!report.reference.empty())
      cli::print("reference: " + report.reference +
                 (report.reference_stored
                      ? ", log-probabilities stored in 16 bits\n"
                      : ", read beside each model: log-probabilities in binary32, not rounded to "
                        "16 bits\n"));
  }

  std::string form_;
  cli::Table table_;
  std::vector<Figures> figures_;
};

void declare_common(CLI::App& app, const char* context_help) {
  QualityArguments& arguments = quality_arguments;
  app.add_option("MODEL", arguments.models, "models to measure: GGUF files or Hugging Face folders")
      ->required();
  app.add_option("-c,--ctx", arguments.n_ctx, context_help)
      ->check(cli::whole_number(kLeastContext, 1 << 20));
  app.add_option("--chunks", arguments.chunks, "how many chunks at most; 0: the whole text")
      ->check(cli::whole_number(0, 1 << 30))
      ->capture_default_str();
  add_kv_type(app, arguments.kv_type, "f32 keeps them as they are")->capture_default_str();
  app.add_flag("--exact", arguments.exact,
               "decode weights to binary32 instead of rounding what they are multiplied with");
  std::vector<std::string> forms;
  for (const cli::TableFormat& format : cli::table_formats()) forms.emplace_back(format.name);
  forms.insert(forms.end(), {"json", "jsonl"});
  app.add_option("-o,--output", arguments.output,
                 "form of the report; csv has every figure, json (the same as --json) and jsonl, a "
                 "line for each model, every chunk as well")
      ->check(cli::choice(forms))
      ->capture_default_str();
  app.add_flag("--no-hash", arguments.no_hash, "leave out the SHA-256 of the model files");
}

CLI::Option* add_text(CLI::App& app, const char* help) {
  return app.add_option("-f,--file", quality_arguments.text, help)->type_name("TEXT");
}

void declare_perplexity(CLI::App& app) {
  declare_common(app, "tokens of a chunk; without it 512");
  add_text(app, "text to read; -: standard input")->required();
  app.add_option("--save-logits", quality_arguments.save_logits,
                 "keep what the model says about each token, for kld --base; in 16 bits, in the "
                 "form of llama-perplexity")
      ->type_name("FILE");
}

void declare_divergence(CLI::App& app) {
  declare_common(app, "tokens of a chunk; without it 512, or what the file of --base has");
  add_text(app, "text to read; -: standard input; not needed with --base, which is checked for it");
  app.add_option("--ref", quality_arguments.reference,
                 "model to compare with, usually the one that was quantized")
      ->type_name("MODEL");
  app.add_option("--base", quality_arguments.base,
                 "compare with what ppl --save-logits or llama-perplexity saved")
      ->type_name("FILE");
}

void execute_quality(const cli::Context& context) {
  const QualityArguments& arguments = quality_arguments;
  const std::string form = context.json ? "json" : arguments.output;
  const bool with_hash = form == "json" || form == "jsonl";
  QualityPrinter printer(form);
  const QualityReport report = bench_quality(
      {.models = {arguments.models.begin(), arguments.models.end()},
       .text = arguments.text,
       .n_ctx = arguments.n_ctx,
       .max_chunks = arguments.chunks,
       .reference = arguments.reference,
       .base = arguments.base,
       .save_logits = arguments.save_logits,
       .existing = context.force ? Existing::replace : Existing::refuse,
       .threads = context.threads,
       .kv_type = *dtype_named(arguments.kv_type),
       .exact = arguments.exact,
       .hash = with_hash && !arguments.no_hash},
      [&](const QualityReport& so_far) { printer.add(so_far); }, context.monitor);
  printer.finish(report);
}

void execute_divergence(const cli::Context& context) {
  const QualityArguments& arguments = quality_arguments;
  if (arguments.reference.empty() == arguments.base.empty())
    fail(ErrorKind::usage, "one of --ref and --base says what to compare with");
  if (arguments.base.empty() && arguments.text.empty())
    fail(ErrorKind::usage, "--ref needs a text to read: --file");
  execute_quality(context);
}

}  // namespace

const cli::Command kBenchPerplexity = {.name = "ppl",
                                       .summary = "measure how well models predict a text",
                                       .declare = declare_perplexity,
                                       .execute = execute_quality};
const cli::Command kBenchDivergence = {
    .name = "kld",
    .summary = "measure how far models are from a reference on a text",
    .declare = declare_divergence,
    .execute = execute_divergence,
    .common = {.force = false}};

}  // namespace lq::tools
