#include "lib/jobs/importance_statistics.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/quote.h"
#include "lib/format/tensor.h"

namespace lq {
namespace {

constexpr double kActive = 1e-5;

/// Means of the matrices that saw a token.
std::vector<double> means_of(const ImportanceEntry& entry) {
  std::vector<double> means;
  const std::size_t columns = entry.columns();
  for (std::size_t i = 0; i < entry.sums.size(); ++i)
    if (const std::int64_t count = entry.counts[i / columns]; count > 0)
      means.push_back(static_cast<double>(entry.sums[i]) / static_cast<double>(count));
  return means;
}

double share(std::size_t n, std::size_t of) {
  return of > 0 ? static_cast<double>(n) / static_cast<double>(of) : 0;
}

void describe_means(const std::vector<double>& means, ImportanceStatistics& s) {
  if (means.empty()) return;
  const auto n = static_cast<double>(means.size());
  double squares = 0;
  s.min = s.max = means[0];
  for (const double v : means) {
    s.sum += v;
    squares += v * v;
    s.min = std::min(s.min, v);
    s.max = std::max(s.max, v);
  }
  s.mean = s.sum / n;
  s.deviation = std::sqrt(std::max(0.0, squares / n - s.mean * s.mean));
  const auto count = [&](const auto& is) {
    return share(static_cast<std::size_t>(std::count_if(means.begin(), means.end(), is)),
                 means.size());
  };
  s.zero_share = count([](double v) { return v == 0; });
  s.active_share = count([](double v) { return std::fabs(v) > kActive; });
  if (s.deviation > 0) s.outlier_share = count([&](double v) { return v > s.mean + s.deviation; });
  for (const double v : means)
    if (const double p = v / s.sum; s.sum > 0 && p > 0) s.entropy -= p * std::log2(p);
  s.evenness = means.size() > 1 ? s.entropy / std::log2(n) : 0;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 0;
  double dot = 0, a2 = 0, b2 = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    dot += x * y;
    a2 += x * x;
    b2 += y * y;
  }
  return a2 > 0 && b2 > 0 ? dot / std::sqrt(a2 * b2) : 0;
}

/// The entry of the same matrix of the layer before.
const ImportanceEntry* previous_entry(const ImportanceMatrix& matrix, const std::string& name,
                                      int layer) {
  if (layer < 1) return nullptr;
  const std::string rest = name.substr(name.find('.', 4));
  const auto at = matrix.entries.find("blk." + std::to_string(layer - 1) + rest);
  return at == matrix.entries.end() ? nullptr : &at->second;
}

ImportanceStatistics statistics_of(const ImportanceMatrix& matrix, const std::string& name,
                                   const ImportanceEntry& entry) {
  ImportanceStatistics s;
  s.name = name;
  s.layer = layer_of(name);
  s.matrices = entry.counts.size();
  s.unseen = static_cast<std::size_t>(std::count(entry.counts.begin(), entry.counts.end(), 0));
  s.columns = entry.columns();
  s.fewest_tokens = *std::min_element(entry.counts.begin(), entry.counts.end());
  s.most_tokens = entry.most_tokens();
  describe_means(means_of(entry), s);
  if (const ImportanceEntry* previous = previous_entry(matrix, name, s.layer))
    s.previous_cosine = cosine(entry.sums, previous->sums);
  return s;
}

/// Means over the tensors of a layer.
struct LayerStatistics {
  double weight = 0, sum = 0, outlier_share = 0, previous_cosine = 0;

  void add(const ImportanceStatistics& s) {
    const auto w = static_cast<double>((s.matrices - s.unseen) * s.columns);
    weight += w;
    sum += w * s.sum;
    outlier_share += w * s.outlier_share;
    previous_cosine += w * s.previous_cosine;
  }
};

std::map<int, LayerStatistics> layer_statistics(const std::vector<ImportanceStatistics>& tensors) {
  std::map<int, LayerStatistics> layers;
  for (const ImportanceStatistics& s : tensors)
    if (s.layer >= 0 && s.unseen < s.matrices) layers[s.layer].add(s);
  for (auto& [layer, l] : layers) {
    l.sum /= l.weight;
    l.outlier_share /= l.weight;
    l.previous_cosine /= l.weight;
  }
  return layers;
}

OrderedJson number(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

std::string fixed(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

/// Sums span many powers of ten.
std::string rounded(double value) {
  std::ostringstream text;
  text << std::setprecision(4) << value;
  return text.str();
}

std::string percent(double share) { return fixed(100 * share, 1); }

/// Columns of numbers end, those of words begin, at one place.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      text += i == 0 ? row[i] + padding : "  " + padding + row[i];
    }
    text += "\n";
  }
  return text;
}

const char* form_of(const ImportanceMatrix& matrix) {
  return matrix.legacy ? "importance matrix (.dat)" : "importance matrix (GGUF)";
}

}  // namespace

std::vector<ImportanceStatistics> importance_statistics(const ImportanceMatrix& matrix) {
  std::vector<ImportanceStatistics> result;
  for (const auto& [name, entry] : matrix.entries)
    result.push_back(statistics_of(matrix, name, entry));
  std::stable_sort(result.begin(), result.end(),
                   [](const auto& a, const auto& b) { return a.layer < b.layer; });
  return result;
}

OrderedJson importance_json(const std::filesystem::path& path) {
  const ImportanceMatrix matrix = read_importance(path);
  const auto statistics = importance_statistics(matrix);
  OrderedJson json = {{"path", path.string()},
                      {"format", form_of(matrix)},
                      {"chunk_count", matrix.chunk_count},
                      {"chunk_size", matrix.chunk_size},
                      {"datasets", matrix.datasets}};
  json["tensors"] = OrderedJson::array();
  for (const ImportanceStatistics& s : statistics)
    json["tensors"].push_back({{"name", s.name},
                               {"matrices", s.matrices},
                               {"columns", s.columns},
                               {"tokens", matrix.entries.at(s.name).counts},
                               {"sum", number(s.sum)},
                               {"min", number(s.min)},
                               {"max", number(s.max)},
                               {"mean", number(s.mean)},
                               {"deviation", number(s.deviation)},
                               {"zero_share", s.zero_share},
                               {"active_share", s.active_share},
                               {"entropy_bits", number(s.entropy)},
                               {"evenness", number(s.evenness)},
                               {"outlier_share", s.outlier_share},
                               {"previous_cosine", number(s.previous_cosine)}});
  json["layers"] = OrderedJson::array();
  for (const auto& [layer, l] : layer_statistics(statistics))
    json["layers"].push_back({{"layer", layer},
                              {"sum", number(l.sum)},
                              {"outlier_share", number(l.outlier_share)},
                              {"previous_cosine", number(l.previous_cosine)}});
  return json;
}

std::string importance_text(const std::filesystem::path& path) {
  const ImportanceMatrix matrix = read_importance(path);
  const auto statistics = importance_statistics(matrix);
  std::string text = "file     " + quote_unless_plain(path.string()) + "\nformat   " +
                     form_of(matrix) + "\nchunks   " + std::to_string(matrix.chunk_count);
  if (matrix.chunk_size > 0) text += " of " + std::to_string(matrix.chunk_size) + " tokens";
  for (const std::string& dataset : matrix.datasets) text += "\ntext     " + quote(dataset);
  text += "\nentries  " + std::to_string(matrix.entries.size()) + "\n\n";
  std::vector<std::vector<std::string>> rows = {
      {"tensor", "matrices", "columns", matrix.legacy ? "chunks" : "tokens", "unseen", "sum", "min",
       "max", "mean", "deviation", "zero %", "active %", "even %", "outlier %", "cosine"}};
  for (const ImportanceStatistics& s : statistics)
    rows.push_back(
        {quote_unless_plain(s.name), std::to_string(s.matrices), std::to_string(s.columns),
         (s.matrices > 1 ? std::to_string(s.fewest_tokens) + "-" : "") +
             std::to_string(s.most_tokens),
         std::to_string(s.unseen), rounded(s.sum), rounded(s.min), rounded(s.max), rounded(s.mean),
         rounded(s.deviation), percent(s.zero_share), percent(s.active_share), percent(s.evenness),
         percent(s.outlier_share), fixed(s.previous_cosine, 4)});
  text += table(rows) + "\n";
  rows = {{"layer", "sum", "outlier %", "cosine"}};
  for (const auto& [layer, l] : layer_statistics(statistics))
    rows.push_back({std::to_string(layer), rounded(l.sum), percent(l.outlier_share),
                    fixed(l.previous_cosine, 4)});
  return rows.size() > 1 ? text + table(rows) : text;
}

}  // namespace lq
