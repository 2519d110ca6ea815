#pragma once
// What a model says about a text, token by token, as a file in the reference's form
// (llama-perplexity --kl-divergence-base): other models are compared with it.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "lib/io/atomic_file.h"
#include "lib/io/mapped_file.h"
#include "lib/text/tokenizer.h"

namespace lq {

/// Of a chunk of n_ctx tokens, positions first_scored() to n_ctx - 2 are scored by the token that
/// follows each: the second half, so that every one has something to go by.
constexpr int first_scored(int n_ctx) { return n_ctx / 2; }
constexpr int scored_tokens(int n_ctx) { return n_ctx - 1 - first_scored(n_ctx); }
/// Below that nothing is scored.
inline constexpr int kLeastContext = 3;

/// Bytes of one scored token: scale and least value (binary32), a code of 16 bits for each token of
/// the vocabulary, and a pad when their number is odd.
constexpr std::size_t base_row_bytes(int n_vocab) {
  return 8 + (static_cast<std::size_t>(n_vocab) + 1) / 2 * 4;
}

/// Stores the log-probabilities that `logits` [n_vocab] stand for; what is less than 16 below the
/// largest is stored as that. `row` has base_row_bytes().
void encode_base_row(std::span<const float> logits, std::span<std::byte> row);

/// One scored token of a file: log_probability(i) = scale * code(i) + least.
struct BaseRow {
  float scale, least;
  std::span<const std::byte> codes;

  explicit BaseRow(std::span<const std::byte> row);
  float log_probability(std::size_t token) const;
};

struct BaseShape {
  int n_ctx = 0, n_vocab = 0, n_chunks = 0;
};

class BaseLogitsWriter {
 public:
  /// `tokens`: n_ctx * n_chunks, as the text has them. Throws Error(file), as all methods do.
  BaseLogitsWriter(const std::filesystem::path& path, Existing existing, const BaseShape& shape,
                   std::span<const TokenId> tokens);
  /// Rows of the next scored tokens.
  void append(std::span<const std::byte> rows) { file_.append(rows); }
  /// After all rows: the file gets its name.
  void commit() { file_.commit(); }

 private:
  AtomicFile file_;
};

class BaseLogits {
 public:
  /// Throws Error(file), and Error(input) when the size is not what the header says or tokens are
  /// not of the vocabulary.
  explicit BaseLogits(const std::filesystem::path& path);

  const std::string& name() const { return file_.name(); }
  const BaseShape& shape() const { return shape_; }
  std::span<const TokenId> tokens() const { return tokens_; }
  /// Scored token `index` of a chunk. Throws Error(input) for numbers that nothing can be stored
  /// with. What it says has yet to add up to one: see fail_at().
  BaseRow row(int chunk, int index) const;
  /// Tells the system that the rows of a chunk are not needed any more.
  void release(int chunk) const;
  /// Throws Error(input): where the row is, and `what`.
  [[noreturn]] void fail_at(int chunk, int index, const std::string& what) const;

 private:
  void check_size() const;
  std::uint64_t offset_of(int chunk, int index) const;

  MappedFile file_;
  BaseShape shape_;
  std::vector<TokenId> tokens_;
};

}  // namespace lq
