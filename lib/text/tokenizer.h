#pragma once
// Text to token ids and back, from a model's metadata.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/format/metadata.h"

namespace lq {

using TokenId = std::int32_t;

/// Attributes of a token with the numbers that GGUF stores (tokenizer.ggml.token_type).
enum class TokenType : std::int32_t { normal = 1, unknown, control, user_defined, unused, byte };

struct EncodeOptions {
  bool add_special = false;  ///< add begin and end tokens as the model's metadata says
  bool parse_special =
      true;  ///< recognise the texts of control tokens; user-defined ones always are
};

/// Thread-safe after construction.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Any bytes are accepted; invalid UTF-8 is encoded byte by byte.
  virtual std::vector<TokenId> encode(std::string_view text, EncodeOptions options) const = 0;
  /// Bytes that token `id` (checked by the caller: 0 <= id < size()) stands for in running text;
  /// may be a part of a character (Utf8Assembler of unicode.h joins them). Control and unknown
  /// tokens give nothing unless `special`.
  virtual std::string piece(TokenId id, bool special) const = 0;
  /// Text of a whole sequence (SPM drops the space that encode() put before the first word).
  virtual std::string decode(std::span<const TokenId> ids, bool special) const = 0;

  virtual std::string_view token_text(TokenId id) const = 0;  ///< as stored in the vocabulary
  virtual TokenType token_type(TokenId id) const = 0;
  virtual std::optional<TokenId> find(std::string_view stored_text) const = 0;
  virtual int size() const = 0;
  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;
  virtual bool adds_bos() const = 0;
  virtual bool adds_eos() const = 0;
  /// True for every token that ends an answer (end of text, end of turn, ...).
  virtual bool ends_generation(TokenId id) const = 0;
};

/// Throws Error(input) for a broken vocabulary, Error(unsupported) with the list of what is
/// supported for an unknown kind of tokenizer or pre-tokenizer.
std::unique_ptr<Tokenizer> make_tokenizer(const Metadata& metadata);

}  // namespace lq
