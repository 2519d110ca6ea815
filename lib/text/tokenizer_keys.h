#pragma once
// Names of the metadata keys that carry a tokenizer, and the rules by which a converter fills ours.
//
// The standard keys (tokenizer.ggml.*) cannot say everything that a Hugging Face tokenizer does.
// The keys tokenizer.lq.* say the rest. Each is written only when its condition below holds, so
// that the metadata of a plain model is byte for byte what the reference converter writes; a reader
// that does not know them behaves like the standard engine. Without them lq does too, except that
//   - tokens cut out of the text are searched leftmost-longest, all at once, as both Hugging Face
//   and
//     SentencePiece do (the standard engine goes by length; equal unless token texts overlap),
//   - SPM never makes a control, unknown or byte token by merging pieces of ordinary text,
//   - the rows of pretokenizers.def marked nfc normalise to NFC, as those models' tokenizers do.
//
// Input: tokenizer.json, else tokenizer.model. "normalizer", "pre_tokenizer", "model",
// "added_tokens" are its members; an empty Sequence counts as null, a Sequence of one as that one.
//
// tokenizer.ggml.scores       SPM made from a tokenizer.json without tokenizer.model (BPE with
//                             byte_fallback): -(index of the first merge that yields the token),
//                             and
//                             -(number of merges) for tokens that no merge yields. One constant, as
//                             the reference writes, loses the merge order (write it with --compat).
// tokenizer.ggml.remove_extra_whitespaces
//                             true when a tokenizer.model says so (nothing otherwise).
//
// tokenizer.lq.normalizer     string: "none", "nfc", "nfd", "nfkc" or "nfkd". Written when the
// Unicode
//                             form asked for by `normalizer` (alone or inside a Sequence; "none" if
//                             there is none) differs from the one of the row of tokenizer.ggml.pre
//                             (PreTokenizerInfo::nfc; always "none" for SPM).
// tokenizer.lq.space_prefix   string, where a space is put before the text. Written when it is not
//                             what tokenizer.ggml.add_space_prefix says (absent: true for SPM,
//                             false for BPE):
//        "every"         every piece between special tokens; = add_space_prefix true.
//                        normalizer Prepend; tokenizer.model without user-defined pieces
//        "never"         = add_space_prefix false. No Prepend, no Metaspace; prepend_scheme "never"
//        "every-unless"  every piece that does not begin with a space (U+2581 counts as one).
//                        Metaspace "always" (or add_prefix_space true); ByteLevel add_prefix_space
//        "first"         the beginning of the whole text only. tokenizer.model alone (no
//                        tokenizer.json) with add_dummy_prefix and with user-defined pieces
//        "first-unless"  likewise, unless it begins with a space. Metaspace "first"
//                             When the value equals what add_space_prefix can say, write that
//                             standard key where the reference does, and not this one.
// tokenizer.lq.ignore_merges  bool, model.ignore_merges. Written for BPE when it differs from
//                             PreTokenizerInfo::ignore_merges and some vocabulary entry of two or
//                             more characters (added tokens aside) is not the result of a merge.
// tokenizer.lq.pre_patterns   array of string: regular expressions applied one after another, each
//                             splitting the pieces that the ones before left. Written for BPE when
//                             pre_tokenizer is none of the known families; tokenizer.ggml.pre is
//                             then "default". From a Sequence, in order:
//        Split{Regex R, Isolated, invert false | Removed, invert true}  R
//        Split{String s, Isolated}                                      s, quoted
//        Digits{individual_digits true | false}                         \p{N} | \p{N}+
//        Punctuation{Isolated}                                          \p{P}|[!-/:-@\[-`{-~]
//        ByteLevel{use_regex true}                                      kByteLevelPattern
//        ByteLevel{use_regex false}                                     nothing
//                             Anything else is unsupported (say so, name the type).
// tokenizer.lq.added_tokens   array of i32: id, flags, id, flags, ... by ascending id; only added
//                             tokens with flags. Written when there is at least one. Flags are the
//                             sum of 1 lstrip, 2 rstrip, 4 single_word, 8 normalized (only if
//                             normalizer is not null).
//
// Known to stay different from SentencePiece: a user-defined piece of a tokenizer.model with U+2581
// in it is found where the text has U+2581, not where it has a space. Known to stay different from
// Hugging Face: tokens with special=false that look special are stored as control tokens (so plain
// text never yields them with parse_special off); a template that adds more than one token on a
// side keeps only the first; Metaspace with split=true.
#include <cstdint>
#include <string_view>

namespace lq::tokenizer_keys {

inline constexpr std::string_view kModel = "tokenizer.ggml.model";
inline constexpr std::string_view kPre = "tokenizer.ggml.pre";
inline constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
inline constexpr std::string_view kScores = "tokenizer.ggml.scores";
inline constexpr std::string_view kTokenType = "tokenizer.ggml.token_type";
inline constexpr std::string_view kMerges = "tokenizer.ggml.merges";
inline constexpr std::string_view kBos = "tokenizer.ggml.bos_token_id";
inline constexpr std::string_view kEos = "tokenizer.ggml.eos_token_id";
inline constexpr std::string_view kEot = "tokenizer.ggml.eot_token_id";
inline constexpr std::string_view kEom = "tokenizer.ggml.eom_token_id";
inline constexpr std::string_view kUnknown = "tokenizer.ggml.unknown_token_id";
inline constexpr std::string_view kFimPad = "tokenizer.ggml.fim_pad_token_id";
inline constexpr std::string_view kFimRep = "tokenizer.ggml.fim_rep_token_id";
inline constexpr std::string_view kFimSep = "tokenizer.ggml.fim_sep_token_id";
inline constexpr std::string_view kAddBos = "tokenizer.ggml.add_bos_token";
inline constexpr std::string_view kAddEos = "tokenizer.ggml.add_eos_token";
inline constexpr std::string_view kAddSpacePrefix = "tokenizer.ggml.add_space_prefix";
inline constexpr std::string_view kRemoveExtraWhitespaces =
    "tokenizer.ggml.remove_extra_whitespaces";

inline constexpr std::string_view kNormalizer = "tokenizer.lq.normalizer";
inline constexpr std::string_view kSpacePrefix = "tokenizer.lq.space_prefix";
inline constexpr std::string_view kIgnoreMerges = "tokenizer.lq.ignore_merges";
inline constexpr std::string_view kPrePatterns = "tokenizer.lq.pre_patterns";
inline constexpr std::string_view kAddedTokens = "tokenizer.lq.added_tokens";

/// Flags in tokenizer.lq.added_tokens.
enum AddedTokenFlag : std::int32_t { kLstrip = 1, kRstrip = 2, kSingleWord = 4, kNormalized = 8 };

/// What a Hugging Face ByteLevel pre-tokenizer with use_regex splits by.
inline constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace lq::tokenizer_keys
