#pragma once
// Tables of results, in the forms that readers and programs ask for.
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lq::cli {

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
  std::size_t least = 0;  ///< characters that it takes at least in `text` and `md`
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;  ///< [rows][columns]
};

/// A way to write a table: a row of the list in tables.cpp.
struct TableFormat {
  const char* name;  ///< as an option's value, e.g. "md"
  std::string (*write)(const Table& table);
};
/// "text": aligned columns for a terminal; "md": Markdown; "csv": RFC 4180.
std::span<const TableFormat> table_formats();
/// Writes `table` in the format of that name, which has to exist.
std::string write_table(const Table& table, std::string_view format);

/// The same for a table that holds the last row only, without what stands above it: for rows that
/// are shown one by one. Columns are as wide as before where `least` makes them.
std::string write_last_row(const Table& table, std::string_view format);

/// Columns that `text` takes on a terminal: its UTF-8 characters, wide ones twice.
std::size_t display_width(std::string_view text);

}  // namespace lq::cli
