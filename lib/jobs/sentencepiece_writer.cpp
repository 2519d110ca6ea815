// Writes what sentencepiece_model.cpp reads. Numbers of fields are those of
// sentencepiece_model.proto.
#include <cstring>

#include "lib/jobs/sentencepiece_model.h"

namespace lq {
namespace {

void put_varint(std::uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

void put_number(std::uint64_t field, std::int64_t value, std::string& out) {
  put_varint(field << 3, out);
  put_varint(static_cast<std::uint64_t>(value), out);
}

void put_real(std::uint64_t field, float value, std::string& out) {
  constexpr std::uint64_t kFixed32 = 5;
  put_varint(field << 3 | kFixed32, out);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof bytes);
}

void put_bytes(std::uint64_t field, std::string_view content, std::string& out) {
  constexpr std::uint64_t kBytes = 2;
  put_varint(field << 3 | kBytes, out);
  put_varint(content.size(), out);
  out += content;
}

std::string trainer_of(const SentencePieceModel& model) {
  constexpr std::uint64_t kModelType = 3, kVocabSize = 4, kByteFallback = 35;
  std::string out;
  put_number(kModelType, model.algorithm, out);
  put_number(kVocabSize, static_cast<std::int64_t>(model.pieces.size()), out);
  bool has_bytes = false;
  for (const auto& piece : model.pieces)
    has_bytes = has_bytes || piece.type == SentencePieceModel::Type::byte;
  put_number(kByteFallback, has_bytes, out);
  struct Named {
    int id;
    std::uint64_t id_field, text_field;
  };
  constexpr int kNone = -1;
  for (const Named& named : {Named{model.unknown, 40, 45}, Named{model.bos, 41, 46},
                             Named{model.eos, 42, 47}, Named{kNone, 43, 48}}) {
    put_number(named.id_field, named.id, out);
    if (named.id >= 0)
      put_bytes(named.text_field, model.pieces[static_cast<std::size_t>(named.id)].text, out);
  }
  return out;
}

std::string normalizer_of_model(const SentencePieceModel& model) {
  constexpr std::uint64_t kName = 1, kDummyPrefix = 3, kExtraWhitespaces = 4, kEscape = 5;
  std::string out;
  put_bytes(kName, "identity", out);
  put_number(kDummyPrefix, model.add_dummy_prefix, out);
  put_number(kExtraWhitespaces, model.remove_extra_whitespaces, out);
  put_number(kEscape, 1, out);
  return out;
}

}  // namespace

std::string sentencepiece_model_bytes(const SentencePieceModel& model) {
  constexpr std::uint64_t kPieces = 1, kTrainer = 2, kNormalizerSpec = 3;
  constexpr std::uint64_t kText = 1, kScore = 2, kType = 3;
  std::string out;
  for (const auto& piece : model.pieces) {
    std::string message;
    put_bytes(kText, piece.text, message);
    put_real(kScore, piece.score, message);
    if (piece.type != SentencePieceModel::Type::normal)
      put_number(kType, static_cast<std::int64_t>(piece.type), message);
    put_bytes(kPieces, message, out);
  }
  put_bytes(kTrainer, trainer_of(model), out);
  put_bytes(kNormalizerSpec, normalizer_of_model(model), out);
  return out;
}

}  // namespace lq
