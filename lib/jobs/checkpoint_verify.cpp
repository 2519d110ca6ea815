#include "lib/jobs/checkpoint_verify.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "lib/base/quote.h"
#include "lib/jobs/journal.h"
#include "lib/jobs/linear_layouts.h"

namespace lq {
namespace {

/// The new tensors of each module, found by name.
class WrittenTensors {
 public:
  WrittenTensors(const CheckpointPlan& plan, const HfDirectory& written)
      : plan_(plan), written_(written) {
    for (std::size_t i = 0; i < written.tensors().size(); ++i)
      index_[written.tensors()[i].name] = i;
    std::size_t n_planned = 0;
    for (const auto& entries : plan.files) n_planned += entries.size();
    if (n_planned != index_.size())
      fail(ErrorKind::check, written.name(), ": holds ", index_.size(), " tensors; expected ",
           n_planned);
  }

  /// The bytes of each entry of a module, whose facts are those planned.
  std::vector<std::span<const std::byte>> of(const PlannedModule& module) const {
    std::vector<std::span<const std::byte>> parts;
    const std::size_t n_parts = module.linear ? module.parts.size() : 1;
    for (std::size_t i = 0; i < n_parts; ++i) {
      const SafetensorsEntry& entry = plan_.files[module.file][module.first_entry + i];
      const auto found = index_.find(entry.name);
      if (found == index_.end())
        fail(ErrorKind::check, written_.name(), ": lacks tensor ", quote(entry.name));
      auto shape = written_.tensors()[found->second].shape;
      std::reverse(shape.begin(), shape.end());
      const std::span<const std::byte> bytes = written_.raw_data(found->second);
      if (written_.stored_as(found->second) != entry.storage || shape != entry.shape ||
          bytes.size() != entry.bytes)
        differs(entry.name, "type or shape");
      parts.push_back(bytes);
    }
    return parts;
  }

  [[noreturn]] void differs(const std::string& name, const char* what) const {
    fail(ErrorKind::check, written_.name(), ": tensor ", quote(name), ": ", what,
         " read back differs from what was written; the disk or the memory may be faulty");
  }

 private:
  const CheckpointPlan& plan_;
  const HfDirectory& written_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace

std::uint64_t digest_of_parts(PartBytes parts) {
  std::vector<std::uint64_t> digests;
  for (const auto& part : parts) digests.push_back(quick_digest(part));
  return quick_digest(std::as_bytes(std::span(digests)));
}

CheckpointDigests::CheckpointDigests(const CheckpointPlan& plan)
    : plan_(plan), of_(plan.modules.size()) {
  for (std::size_t i = 0; i < of_.size(); ++i)
    if (const auto& linear = plan.modules[i].linear)
      of_[i].resize((linear->rows + kLinearChunk - 1) / kLinearChunk);
}

void CheckpointDigests::put(const CheckpointPiece& piece, std::uint64_t digest) {
  of_[piece.module][piece.first / kLinearChunk] = digest;
}

void CheckpointDigests::put_module(std::size_t module, PartBytes parts) {
  const std::uint64_t rows = plan_.modules[module].linear->rows;
  for (std::uint64_t first = 0; first < rows; first += kLinearChunk) {
    const CheckpointPiece piece{module, first, std::min(rows, first + kLinearChunk)};
    put(piece, read(piece, parts));
  }
}

bool CheckpointDigests::equal(const CheckpointPiece& piece, PartBytes parts) const {
  return of_[piece.module][piece.first / kLinearChunk] == read(piece, parts);
}

std::uint64_t CheckpointDigests::read(const CheckpointPiece& piece, PartBytes parts) const {
  if (plan_.scheme.number != WeightNumber::integer)
    return piece.first == 0 ? digest_of_parts(parts) : 0;
  const Linear& linear = *plan_.modules[piece.module].linear;
  const std::size_t group = group_of(plan_.scheme, linear);
  IntegerRows rows(static_cast<std::size_t>(piece.last - piece.first),
                   static_cast<std::size_t>(linear.cols),
                   static_cast<std::size_t>(linear.cols) / group);
  load_integers(plan_.scheme, linear, piece.first, parts, rows);
  return digest_of(rows);
}

void verify_checkpoint(const CheckpointPlan& plan, const std::filesystem::path& folder,
                       const CheckpointDigests& digests, int threads, Monitor& monitor) {
  const HfDirectory written(folder);
  const WrittenTensors tensors(plan, written);
  CheckpointPass pass(plan, threads, monitor);
  pass.run("verifying", [&](const CheckpointPiece& piece) {
    const PlannedModule& module = plan.modules[piece.module];
    const std::string& name = plan.source->tensors()[module.source_index].name;
    const std::vector<std::span<const std::byte>> parts = tensors.of(module);
    if (!module.linear) {
      const std::vector<std::byte> bytes = pass.bytes_of(piece);
      const auto read = parts[0].subspan(copied_offset(plan, piece), bytes.size());
      if (std::memcmp(bytes.data(), read.data(), bytes.size()) != 0)
        tensors.differs(name, "its bytes");
      return;
    }
    if (!digests.equal(piece, parts)) tensors.differs(name, "what it holds");
  });
}

}  // namespace lq
