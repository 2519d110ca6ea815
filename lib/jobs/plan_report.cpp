// What a plan says of itself before work begins.
#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/quote.h"
#include "lib/jobs/plan.h"

namespace lq {
namespace {

using Row = std::vector<std::string>;

bool is_number_column(std::size_t column, std::size_t n_columns) {
  return column == 1 || column == n_columns - 2;
}

void append_row(std::string& text, const Row& row, const std::vector<std::size_t>& widths) {
  std::string line;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const std::string padding(widths[i] - std::min(widths[i], row[i].size()), ' ');
    line += is_number_column(i, row.size()) ? padding + row[i] : row[i] + padding;
    if (i + 1 < row.size()) line += "  ";
  }
  line.erase(line.find_last_not_of(' ') + 1);
  text += line + "\n";
}

std::string fixed(double value) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(3) << value;
  return text.str();
}

/// Names come from files: control bytes would spoil the table.
std::string shown(const std::string& name) {
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 127; });
  return plain ? name : quote(name);
}

/// Numbers of the tensors that a share's files hold.
std::vector<std::size_t> shared_tensors(const Plan& plan, const Share& share) {
  const auto [first, last] = plan.files_of(share);
  std::vector<std::size_t> numbers;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i)
    if (plan.tensors[i].file >= first && plan.tensors[i].file < last) numbers.push_back(i);
  return numbers;
}

}  // namespace

OrderedJson plan_json(const Plan& plan, const std::filesystem::path& output,
                      const WriteOptions& options) {
  OrderedJson rows = OrderedJson::array();
  for (const std::size_t i : shared_tensors(plan, options.share)) {
    const PlannedTensor& tensor = plan.tensors[i];
    rows.push_back({{"name", tensor.output.name},
                    {"shape", tensor.output.shape},
                    {"source_type", traits(tensor.source_type()).name},
                    {"wanted_type", traits(tensor.wanted_type).name},
                    {"type", traits(tensor.output.type).name},
                    {"reason", tensor.reason},
                    {"importance", tensor.importance != nullptr},
                    {"bytes", tensor.output.bytes()}});
    if (plan.n_parts > 0) rows.back()["file"] = tensor.file;
  }
  OrderedJson json;
  json["tensors"] = std::move(rows);
  if (plan.n_parts > 0) {
    json["files"] = OrderedJson::array();
    for (const auto& file : plan.files(output)) json["files"].push_back(file.string());
  }
  json["total_bytes"] = plan.file_bytes(options.share);
  json["bits_per_weight"] = plan.bits_per_weight();
  json["fallbacks"] = plan.fallbacks();
  json["warnings"] = plan.warnings;
  json["peak_memory_bytes"] = peak_memory_bytes(plan, options);
  const auto free = disk_free_bytes(output);
  json["disk_free_bytes"] = free ? OrderedJson(*free) : OrderedJson(nullptr);
  return json;
}

OrderedJson report_json(const Plan& plan, const std::filesystem::path& output,
                        const WriteOptions& options) {
  OrderedJson json = plan_json(plan, output, options);
  TensorReport total;
  std::size_t n = 0;
  for (const std::size_t i : shared_tensors(plan, options.share)) {
    OrderedJson& row = json["tensors"][n++];
    const TensorReport& report = options.report->at(i);
    total.error.add(report.error);
    total.ns += report.ns;
    const bool converted = plan.tensors[i].source_type() != plan.tensors[i].output.type;
    row["rmse"] = converted ? OrderedJson(report.error.rmse()) : OrderedJson(nullptr);
    row["cosine"] = converted ? OrderedJson(report.error.cosine()) : OrderedJson(nullptr);
    row["worst_block"] = converted ? OrderedJson{{"element", report.error.worst_element()},
                                                 {"rmse", report.error.worst_rmse()}}
                                   : OrderedJson(nullptr);
    row["ns"] = report.ns;
  }
  json["totals"] = {
      {"rmse", total.error.rmse()}, {"cosine", total.error.cosine()}, {"ns", total.ns}};
  return json;
}

std::string plan_text(const Plan& plan, const std::filesystem::path& output,
                      const WriteOptions& options) {
  std::vector<Row> rows = {{"tensor", "shape", "source", "wanted", "type", "bytes", "reason"}};
  for (const std::size_t i : shared_tensors(plan, options.share)) {
    const PlannedTensor& tensor = plan.tensors[i];
    rows.push_back({shown(tensor.output.name), shape_text(tensor.output.shape),
                    traits(tensor.source_type()).name, traits(tensor.wanted_type).name,
                    traits(tensor.output.type).name, std::to_string(tensor.output.bytes()),
                    tensor.reason});
  }
  std::vector<std::size_t> widths(rows[0].size());
  for (const Row& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const Row& row : rows) append_row(text, row, widths);
  const auto free = disk_free_bytes(output);
  text += "\ntensors          " + std::to_string(rows.size() - 1);
  if (plan.n_parts > 0) {
    const auto [first, last] = plan.files_of(options.share);
    text += "\nfiles            " + std::to_string(last - first) + " of " +
            std::to_string(plan.n_parts);
  }
  text += "\nfile size        " + std::to_string(plan.file_bytes(options.share)) + " bytes";
  text += "\nbits per weight  " + fixed(plan.bits_per_weight());
  text += "\nfallbacks        " + std::to_string(plan.fallbacks());
  text += "\npeak memory      " + std::to_string(peak_memory_bytes(plan, options)) + " bytes";
  text += "\ndisk free        " + (free ? std::to_string(*free) + " bytes" : "unknown");
  return text + "\n";
}

}  // namespace lq
