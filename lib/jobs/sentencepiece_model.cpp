#include "lib/jobs/sentencepiece_model.h"

#include <algorithm>
#include <cmath>

#include "lib/base/error.h"
#include "lib/io/byte_reader.h"

namespace lq {
namespace {

/// One field of a protobuf message.
struct Field {
  std::uint32_t number = 0;
  std::uint64_t value = 0;             ///< of a number
  float real = 0;                      ///< of a 32-bit field
  std::span<const std::byte> content;  ///< of a string or message
  enum class Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 } wire = Wire::varint;
};

std::uint64_t read_varint(ByteReader& reader) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = reader.read<std::uint8_t>("number");
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  fail(ErrorKind::input, reader.name(), ": byte ", reader.position(),
       ": a number of more than 10 bytes; expected a SentencePiece model");
}

Field read_field(ByteReader& reader) {
  const auto start = reader.position();
  const auto tag = read_varint(reader);
  Field field;
  field.number = static_cast<std::uint32_t>(tag >> 3);
  field.wire = static_cast<Field::Wire>(tag & 7);
  switch (field.wire) {
    case Field::Wire::varint:
      field.value = read_varint(reader);
      return field;
    case Field::Wire::fixed64:
      field.value = reader.read<std::uint64_t>("number");
      return field;
    case Field::Wire::fixed32:
      field.real = reader.read<float>("number");
      return field;
    case Field::Wire::bytes:
      field.content = reader.take(read_varint(reader), "content of a field");
      return field;
  }
  fail(ErrorKind::input, reader.name(), ": byte ", start, ": field of unknown kind ", tag & 7,
       "; expected a SentencePiece model");
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

SentencePieceModel::Piece parse_piece(std::span<const std::byte> bytes, const std::string& name) {
  SentencePieceModel::Piece piece;
  for (ByteReader reader(bytes, name); reader.left() > 0;) {
    const auto field = read_field(reader);
    if (field.number == 1 && field.wire == Field::Wire::bytes) piece.text = text_of(field.content);
    if (field.number == 2 && field.wire == Field::Wire::fixed32) piece.score = field.real;
    if (field.number == 3 && field.wire == Field::Wire::varint) {
      if (field.value < 1 || field.value > 6)
        fail(ErrorKind::input, name, ": type ", field.value, "; expected 1 to 6");
      piece.type = static_cast<SentencePieceModel::Type>(field.value);
    }
  }
  if (!std::isfinite(piece.score)) fail(ErrorKind::input, name, ": its score is not finite");
  return piece;
}

void parse_trainer(std::span<const std::byte> bytes, const std::string& name,
                   SentencePieceModel& model) {
  for (ByteReader reader(bytes, name); reader.left() > 0;)
    if (const auto field = read_field(reader);
        field.number == 3 && field.wire == Field::Wire::varint)
      model.algorithm = static_cast<int>(std::min<std::uint64_t>(field.value, 100));
}

void parse_normalizer(std::span<const std::byte> bytes, const std::string& name,
                      SentencePieceModel& model) {
  for (ByteReader reader(bytes, name); reader.left() > 0;) {
    const auto field = read_field(reader);
    if (field.number == 2 && field.wire == Field::Wire::bytes)
      model.has_character_map = !field.content.empty();
    if (field.wire != Field::Wire::varint) continue;
    if (field.number == 3) model.add_dummy_prefix = field.value != 0;
    if (field.number == 4) model.remove_extra_whitespaces = field.value != 0;
  }
}

}  // namespace

bool SentencePieceModel::has_user_defined() const {
  return std::any_of(pieces.begin(), pieces.end(),
                     [](const Piece& piece) { return piece.type == Type::user_defined; });
}

SentencePieceModel parse_sentencepiece_model(std::span<const std::byte> bytes,
                                             const std::string& name) {
  SentencePieceModel model;
  for (ByteReader reader(bytes, name); reader.left() > 0;) {
    const auto field = read_field(reader);
    if (field.wire != Field::Wire::bytes) continue;
    if (field.number == 1)
      model.pieces.push_back(
          parse_piece(field.content, name + ": piece " + std::to_string(model.pieces.size())));
    if (field.number == 2) parse_trainer(field.content, name + ": trainer_spec", model);
    if (field.number == 3) parse_normalizer(field.content, name + ": normalizer_spec", model);
  }
  if (model.pieces.empty())
    fail(ErrorKind::input, name, ": holds no pieces; expected a SentencePiece model");
  return model;
}

}  // namespace lq
