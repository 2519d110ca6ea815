#pragma once
// A SentencePiece model file (tokenizer.model): a protobuf message of which a converter needs the
// pieces and three flags. Read here field by field, because the file is not trusted and the
// library's interface does not show the flags; written likewise.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lq {

struct SentencePieceModel {
  /// Numbers of sentencepiece_model.proto.
  enum class Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::normal;
  };

  std::vector<Piece> pieces;
  int algorithm = 1;  ///< 1 unigram, 2 byte-pair, 3 word, 4 character
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool has_character_map = false;  ///< text is normalised by a table in the file
  /// Places of named pieces, -1: none. For writing: a reader finds them by their types and texts.
  int unknown = -1, bos = -1, eos = -1;

  bool has_user_defined() const;
};

/// Throws Error(input) that names `name` and the byte for anything that is not such a file.
SentencePieceModel parse_sentencepiece_model(std::span<const std::byte> bytes,
                                             const std::string& name);

/// The file's bytes. `has_character_map` is not written: there is no table.
std::string sentencepiece_model_bytes(const SentencePieceModel& model);

}  // namespace lq
