#include "lib/jobs/base_logits.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/io/byte_reader.h"

namespace lq {
namespace {

constexpr char kBaseMagic[] = {'_', 'l', 'o', 'g', 'i', 't', 's', '_'};
constexpr std::size_t kBaseHeaderBytes = sizeof kBaseMagic + 3 * sizeof(std::int32_t);
constexpr float kMostCode = 65535;
constexpr float kStoredRange = 16;  ///< of log-probabilities, below the largest

/// Nothing when it does not fit in 64 bits.
std::optional<std::uint64_t> base_file_bytes(const BaseShape& shape) {
  const auto chunks = static_cast<std::uint64_t>(shape.n_chunks);
  const auto tokens = checked_multiply(chunks, static_cast<std::uint64_t>(shape.n_ctx));
  const auto scored =
      checked_multiply(chunks, static_cast<std::uint64_t>(scored_tokens(shape.n_ctx)));
  if (!tokens || !scored) return std::nullopt;
  const auto token_bytes = checked_multiply(*tokens, sizeof(TokenId));
  const auto row_bytes = checked_multiply(*scored, base_row_bytes(shape.n_vocab));
  if (!token_bytes || !row_bytes) return std::nullopt;
  const auto head = checked_add(kBaseHeaderBytes, *token_bytes);
  return head ? checked_add(*head, *row_bytes) : std::nullopt;
}

}  // namespace

void encode_base_row(std::span<const float> logits, std::span<std::byte> row) {
  const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
  const float most = *high, least = std::max(*low, most - kStoredRange);
  double total = 0;
  for (const float logit : logits) total += static_cast<double>(std::exp(logit - most));
  const auto log_total = static_cast<float>(std::log(total));
  const float head[] = {(most - least) / kMostCode, least - most - log_total};
  std::fill(row.begin(), row.end(), std::byte{});
  std::memcpy(row.data(), head, sizeof head);
  if (head[0] == 0) return;
  const float inverse = 1 / head[0];
  std::byte* next = row.data() + sizeof head;
  for (const float logit : logits) {
    const float code = logit > least ? std::nearbyint(inverse * (logit - least)) : 0;
    const auto stored = static_cast<std::uint16_t>(std::min(code, kMostCode));
    std::memcpy(next, &stored, sizeof stored);
    next += sizeof stored;
  }
}

BaseRow::BaseRow(std::span<const std::byte> row) : codes(row.subspan(2 * sizeof(float))) {
  std::memcpy(&scale, row.data(), sizeof scale);
  std::memcpy(&least, row.data() + sizeof scale, sizeof least);
}

float BaseRow::log_probability(std::size_t token) const {
  std::uint16_t code;
  std::memcpy(&code, codes.data() + token * sizeof code, sizeof code);
  return scale * static_cast<float>(code) + least;
}

BaseLogitsWriter::BaseLogitsWriter(const std::filesystem::path& path, Existing existing,
                                   const BaseShape& shape, std::span<const TokenId> tokens)
    : file_(path, existing) {
  const auto bytes = base_file_bytes(shape);
  if (!bytes) fail(ErrorKind::resource, path.string(), ": would be larger than any file");
  if (file_.seekable()) file_.reserve(*bytes);
  file_.append(std::as_bytes(std::span(kBaseMagic)));
  const std::int32_t header[] = {shape.n_ctx, shape.n_vocab, shape.n_chunks};
  file_.append(std::as_bytes(std::span(header)));
  file_.append(std::as_bytes(tokens));
}

BaseLogits::BaseLogits(const std::filesystem::path& path) : file_(path) {
  ByteReader reader(file_.bytes(), name());
  const auto magic = reader.take(sizeof kBaseMagic, "the file's mark");
  if (std::memcmp(magic.data(), kBaseMagic, sizeof kBaseMagic) != 0)
    fail(ErrorKind::input, name(),
         ": does not begin with '_logits_': no file of log-probabilities; make one with lq-bench "
         "ppl --save-logits");
  shape_.n_ctx = reader.read<std::int32_t>("the context");
  shape_.n_vocab = reader.read<std::int32_t>("the vocabulary's size");
  shape_.n_chunks = reader.read<std::int32_t>("the number of chunks");
  check_size();
  tokens_.resize(static_cast<std::size_t>(shape_.n_ctx) *
                 static_cast<std::size_t>(shape_.n_chunks));
  const auto stored = reader.take(tokens_.size() * sizeof(TokenId), "the tokens");
  std::memcpy(tokens_.data(), stored.data(), stored.size());
  for (std::size_t i = 0; i < tokens_.size(); ++i)
    if (tokens_[i] < 0 || tokens_[i] >= shape_.n_vocab)
      fail(ErrorKind::input, name(), ": token ", i, " at byte ",
           kBaseHeaderBytes + i * sizeof(TokenId), " is ", tokens_[i], "; the vocabulary has ",
           shape_.n_vocab);
}

void BaseLogits::check_size() const {
  const auto& [n_ctx, n_vocab, n_chunks] = shape_;
  if (n_ctx < kLeastContext || n_vocab < 1 || n_chunks < 1)
    fail(ErrorKind::input, name(), ": context ", n_ctx, ", vocabulary ", n_vocab, ", chunks ",
         n_chunks, " at byte ", sizeof kBaseMagic, "; at least ", kLeastContext,
         ", 1 and 1 were expected");
  const std::uint64_t found = file_.bytes().size();
  const auto wanted = base_file_bytes(shape_);
  if (wanted && *wanted == found) return;
  if (wanted && *wanted < found)
    fail(ErrorKind::input, name(), ": has ", found, " bytes, ", n_chunks, " chunks of ", n_ctx,
         " tokens with a vocabulary of ", n_vocab, " end at byte ", *wanted);
  fail(ErrorKind::input, name(), ": truncated at byte ", found, ": ", n_chunks, " chunks of ",
       n_ctx, " tokens with a vocabulary of ", n_vocab, " need ",
       wanted ? std::to_string(*wanted) + " bytes" : "more bytes than a file can have");
}

std::uint64_t BaseLogits::offset_of(int chunk, int index) const {
  const auto rows =
      static_cast<std::uint64_t>(chunk) * static_cast<std::uint64_t>(scored_tokens(shape_.n_ctx)) +
      static_cast<std::uint64_t>(index);
  return kBaseHeaderBytes + tokens_.size() * sizeof(TokenId) +
         rows * base_row_bytes(shape_.n_vocab);
}

BaseRow BaseLogits::row(int chunk, int index) const {
  const BaseRow row(file_.bytes().subspan(offset_of(chunk, index), base_row_bytes(shape_.n_vocab)));
  if (!std::isfinite(row.scale) || row.scale < 0 || !std::isfinite(row.least))
    fail_at(chunk, index,
            "scale " + std::to_string(row.scale) + " and least value " + std::to_string(row.least) +
                " are no numbers to store log-probabilities with");
  return row;
}

void BaseLogits::release(int chunk) const {
  const std::uint64_t begin = offset_of(chunk, 0);
  file_.release(file_.bytes().subspan(begin, offset_of(chunk + 1, 0) - begin));
}

void BaseLogits::fail_at(int chunk, int index, const std::string& what) const {
  fail(ErrorKind::input, name(), ": chunk ", chunk + 1, ", scored token ", index + 1, " at byte ",
       offset_of(chunk, index), ": ", what);
}

}  // namespace lq
