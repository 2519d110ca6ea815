#include "lib/format/safetensors_writer.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "lib/base/error.h"
#include "lib/base/json.h"

namespace lq {
namespace {

std::vector<std::size_t> file_order(std::span<const SafetensorsEntry> entries) {
  std::vector<std::size_t> order(entries.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int bits_a = safetensors_bits(entries[a].storage);
    const int bits_b = safetensors_bits(entries[b].storage);
    return bits_a != bits_b ? bits_a > bits_b : entries[a].name < entries[b].name;
  });
  return order;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::span<const SafetensorsEntry> entries, Leave leave)
    : begin_(entries.size()), file_(path, Existing::refuse, leave) {
  std::string text = R"({"__metadata__":{"format":"pt"})";
  std::uint64_t end = 0;
  for (const std::size_t i : file_order(entries)) {
    const SafetensorsEntry& entry = entries[i];
    begin_[i] = end;
    end += entry.bytes;
    const OrderedJson facts = {
        {"dtype", entry.storage}, {"shape", entry.shape}, {"data_offsets", {begin_[i], end}}};
    text += "," + Json(entry.name).dump() + ":" + facts.dump();
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  for (std::uint64_t& begin : begin_) begin += sizeof length + length;
  file_.reserve(sizeof length + length + end);
  file_.write_at(0, std::as_bytes(std::span(&length, 1)));
  file_.write_at(sizeof length, std::as_bytes(std::span(text)));
}

void SafetensorsWriter::write(std::size_t index, std::uint64_t offset,
                              std::span<const std::byte> bytes) {
  file_.write_at(begin_[index] + offset, bytes);
}

void SafetensorsWriter::read(std::size_t index, std::uint64_t offset,
                             std::span<std::byte> into) const {
  file_.read_at(begin_[index] + offset, into);
}

void SafetensorsWriter::give_name() { file_.give_name(); }

void SafetensorsWriter::commit() { file_.commit(); }

int safetensors_bits(std::string_view storage) {
  struct Row {
    std::string_view name;
    int bits;
  };
  constexpr Row kRows[] = {
#define LQ_SAFETENSORS_TYPE(name, bits, dtype) {#name, bits},
#define LQ_SAFETENSORS_FOREIGN(name, bits) {#name, bits},
#include "lib/format/safetensors_types.def"
#undef LQ_SAFETENSORS_TYPE
#undef LQ_SAFETENSORS_FOREIGN
  };
  for (const Row& row : kRows)
    if (row.name == storage) return row.bits;
  return 0;
}

}  // namespace lq
