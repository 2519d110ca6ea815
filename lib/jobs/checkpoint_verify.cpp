#include "lib/jobs/checkpoint_verify.h"

#include <algorithm>
#include <map>

#include "lib/base/quote.h"
#include "lib/format/hf_directory.h"
#include "lib/jobs/journal.h"

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

  /// The number of the tensor that part `part` of a module became; its facts are those planned.
  std::size_t find(const PlannedModule& module, std::size_t part) const {
    const SafetensorsEntry& entry = plan_.files[module.file][module.first_entry + part];
    const auto found = index_.find(entry.name);
    if (found == index_.end())
      fail(ErrorKind::check, written_.name(), ": lacks tensor ", quote(entry.name));
    auto shape = written_.tensors()[found->second].shape;
    std::reverse(shape.begin(), shape.end());
    if (written_.stored_as(found->second) != entry.storage || shape != entry.shape ||
        written_.raw_data(found->second).size() != entry.bytes)
      differs(entry.name, "type or shape");
    return found->second;
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

void BlockDigest::add_block(std::span<const std::byte> block) {
  const std::uint64_t both[] = {value_, quick_digest(block)};
  value_ = quick_digest(std::as_bytes(std::span(both)));
}

void BlockDigest::add(std::span<const std::byte> part) {
  for (; part.size() > kBlockBytes; part = part.subspan(kBlockBytes))
    add_block(part.first(kBlockBytes));
  if (!part.empty()) add_block(part);
}

CheckpointDigests::CheckpointDigests(const CheckpointPlan& plan) : of_(plan.modules.size()) {
  for (std::size_t i = 0; i < of_.size(); ++i) of_[i].resize(count_pieces(plan, i));
}

std::uint64_t CheckpointDigests::of_module(std::size_t module) const {
  return quick_digest(std::as_bytes(std::span(of_[module])));
}

void verify_checkpoint(const CheckpointPlan& plan, const std::filesystem::path& folder,
                       const CheckpointDigests& digests, int threads, Monitor& monitor) {
  const HfDirectory written(folder);
  const WrittenTensors tensors(plan, written);
  CheckpointPass pass(plan, threads, monitor);
  pass.run("verifying", [&](const CheckpointPiece& piece, PieceMemory& memory) {
    const PlannedModule& module = plan.modules[piece.module];
    const std::size_t n_parts = module.linear ? module.parts.size() : 1;
    BlockDigest read;
    for (std::size_t i = 0; i < n_parts; ++i) {
      const std::size_t tensor = tensors.find(module, i);
      const LinearPart::Range range = range_of_piece(plan, piece, i);
      for (std::uint64_t at = 0; at < range.bytes; at += BlockDigest::kBlockBytes) {
        memory.stored.resize(std::min<std::uint64_t>(range.bytes - at, BlockDigest::kBlockBytes));
        written.read(tensor, range.begin + at, memory.stored);
        read.add_block(memory.stored);
      }
    }
    if (read.value() != digests.of(piece))
      tensors.differs(plan.source->info(module.source_index).name, "what it holds");
  });
}

}  // namespace lq
