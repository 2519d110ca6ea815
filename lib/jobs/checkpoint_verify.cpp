#include "lib/jobs/checkpoint_verify.h"

#include <algorithm>
#include <bit>
#include <map>

#include "lib/base/quote.h"
#include "lib/jobs/linear_decoder.h"

namespace lq {
namespace {

/// Four chains, so that multiplications overlap.
std::uint64_t digest_of(std::span<const float> values) {
  constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15;
  std::uint64_t chain[4] = {1, 2, 3, 4};
  std::size_t i = 0;
  const auto mix = [&](std::uint64_t& one, float value) {
    one = (one ^ std::bit_cast<std::uint32_t>(value)) * kFactor;
    one ^= one >> 29;
  };
  for (; i + 4 <= values.size(); i += 4)
    for (std::size_t j = 0; j < 4; ++j) mix(chain[j], values[i + j]);
  for (; i < values.size(); ++i) mix(chain[0], values[i]);
  std::uint64_t digest = values.size();
  for (const std::uint64_t one : chain) digest = (digest ^ one) * kFactor;
  return digest;
}

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

CheckpointDigests::CheckpointDigests(const CheckpointPlan& plan) : of_(plan.modules.size()) {
  for (std::size_t i = 0; i < of_.size(); ++i)
    if (const auto& linear = plan.modules[i].linear)
      of_[i].resize((linear->rows + kLinearChunk - 1) / kLinearChunk);
}

void CheckpointDigests::put(const CheckpointPiece& piece, std::span<const float> values) {
  of_[piece.module][piece.first / kLinearChunk] = digest_of(values);
}

void CheckpointDigests::put_decoded(const CheckpointPlan& plan, std::size_t module,
                                    const LinearBytes& parts) {
  const Linear& linear = *plan.modules[module].linear;
  const std::vector<std::span<const std::byte>> bytes(parts.begin(), parts.end());
  for (std::uint64_t first = 0; first < linear.rows; first += kLinearChunk) {
    const std::uint64_t last = std::min(linear.rows, first + kLinearChunk);
    std::vector<float> values((last - first) * linear.cols);
    decode_linear(plan.scheme, linear, first, bytes, values);
    put({module, first, last}, values);
  }
}

bool CheckpointDigests::equal(const CheckpointPiece& piece, std::span<const float> values) const {
  return of_[piece.module][piece.first / kLinearChunk] == digest_of(values);
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
      if (!std::equal(bytes.begin(), bytes.end(), read.begin(), read.end()))
        tensors.differs(name, "its bytes");
      return;
    }
    std::vector<float> values((piece.last - piece.first) * module.linear->cols);
    decode_linear(plan.scheme, *module.linear, piece.first, parts, values);
    if (!digests.equal(piece, values)) tensors.differs(name, "values");
  });
}

}  // namespace lq
