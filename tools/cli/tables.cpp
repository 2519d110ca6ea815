#include "tools/cli/tables.h"

#include <algorithm>
#include <string_view>

#include "lib/base/error.h"

namespace lq::cli {
namespace {

std::vector<std::size_t> column_widths(const Table& table, std::size_t least) {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    const Column& column = table.columns[c];
    std::size_t width = std::max({least, column.least, display_width(column.title)});
    for (const auto& row : table.rows) width = std::max(width, display_width(row[c]));
    widths.push_back(width);
  }
  return widths;
}

std::string padded(std::string_view text, std::size_t width, Align align) {
  const std::string blanks(width - std::min(width, display_width(text)), ' ');
  return align == Align::left ? std::string(text) + blanks : blanks + std::string(text);
}

std::string write_text(const Table& table) {
  const auto widths = column_widths(table, 1);
  std::string out;
  const auto line = [&](const auto& cell_of) {
    std::string text;
    for (std::size_t c = 0; c < widths.size(); ++c)
      text += padded(cell_of(c), widths[c], table.columns[c].align) + "  ";
    out += text.erase(text.find_last_not_of(' ') + 1) + "\n";
  };
  line([&](std::size_t c) { return table.columns[c].title; });
  for (const auto& row : table.rows) line([&](std::size_t c) { return row[c]; });
  return out;
}

/// A cell of Markdown: a bar would end it.
std::string markdown_cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

std::string write_markdown(const Table& table) {
  Table escaped = table;
  for (auto& row : escaped.rows)
    for (auto& cell : row) cell = markdown_cell(cell);
  const auto widths = column_widths(escaped, 3);
  std::string out = "|", rule = "|";
  for (std::size_t c = 0; c < widths.size(); ++c) {
    const Column& column = escaped.columns[c];
    out += ' ' + padded(column.title, widths[c], column.align) + " |";
    const std::string dashes(widths[c] - 1, '-');
    rule += column.align == Align::left ? " -" + dashes + " |" : " " + dashes + ": |";
  }
  out += '\n' + rule + '\n';
  for (const auto& row : escaped.rows) {
    out += '|';
    for (std::size_t c = 0; c < widths.size(); ++c)
      out += ' ' + padded(row[c], widths[c], escaped.columns[c].align) + " |";
    out += '\n';
  }
  return out;
}

std::string csv_cell(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + '"';
}

std::string write_csv(const Table& table) {
  std::string out;
  const auto line = [&](const auto& cell_of) {
    for (std::size_t c = 0; c < table.columns.size(); ++c)
      out.append(c ? "," : "").append(csv_cell(cell_of(c)));
    out += "\r\n";
  };
  line([&](std::size_t c) { return table.columns[c].title; });
  for (const auto& row : table.rows) line([&](std::size_t c) { return row[c]; });
  return out;
}

constexpr TableFormat kFormats[] = {
    {"text", write_text},
    {"md", write_markdown},
    {"csv", write_csv},
};

}  // namespace

std::span<const TableFormat> table_formats() { return kFormats; }

std::string write_table(const Table& table, std::string_view format) {
  for (const auto& row : table.rows) LQ_ASSERT(row.size() == table.columns.size());
  const auto* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                   [&](const TableFormat& row) { return row.name == format; });
  LQ_ASSERT(found != std::end(kFormats));
  return found->write(table);
}

std::string write_last_row(const Table& table, std::string_view format) {
  LQ_ASSERT(!table.rows.empty());
  const Table last{.columns = table.columns, .rows = {table.rows.back()}};
  const std::string head = write_table({.columns = last.columns, .rows = {}}, format);
  // Lines above a row are as many as without it, though not as wide.
  std::string text = write_table(last, format);
  for (auto lines = std::count(head.begin(), head.end(), '\n'); lines > 0; --lines)
    text.erase(0, text.find('\n') + 1);
  return text;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xc0) == 0x80) continue;
    // Wide characters of East Asia start at U+1100; in UTF-8 nearly all have lead bytes from e3 on,
    // or are four bytes long (with the emoji).
    width += byte >= 0xe3 && byte != 0xef ? 2 : 1;
  }
  return width;
}

}  // namespace lq::cli
