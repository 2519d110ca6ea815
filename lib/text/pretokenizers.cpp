#include "lib/text/pretokenizers.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include "lib/base/error.h"
#include "lib/text/unicode.h"

namespace lq {
template <auto Free>
struct Pcre2Deleter {
  template <class T>
  void operator()(T* p) const noexcept {
    Free(p);
  }
};
using Code = std::unique_ptr<pcre2_code, Pcre2Deleter<pcre2_code_free>>;

namespace {

struct Family {
  std::string_view name;
  std::span<const char* const> patterns;
};

#define LQ_PATTERNS(name, ...) constexpr const char* kPatterns_##name[] = {__VA_ARGS__};
#define LQ_PRETOKENIZER(...)
#include "lib/text/pretokenizers.def"
#undef LQ_PATTERNS
#undef LQ_PRETOKENIZER

constexpr Family kFamilies[] = {
#define LQ_PATTERNS(name, ...) {#name, kPatterns_##name},
#define LQ_PRETOKENIZER(...)
#include "lib/text/pretokenizers.def"
#undef LQ_PATTERNS
#undef LQ_PRETOKENIZER
};

constexpr PreTokenizerInfo kRows[] = {
#define LQ_PATTERNS(...)
#define LQ_PRETOKENIZER(name, family, ignore_merges, add_bos, nfc, spelling) \
  {name, #family, ignore_merges, add_bos, nfc, Spelling::spelling},
#include "lib/text/pretokenizers.def"
#undef LQ_PATTERNS
#undef LQ_PRETOKENIZER
};

/// Steps after which a match is given up: some 10,000 times what the known patterns take.
constexpr std::uint32_t kMatchLimit = 50'000'000;
constexpr std::size_t kJitStackBytes = std::size_t{4} << 20;

/// PCRE2 counts U+180E among \s (it is no longer White_Space), so the property is spelled out.
constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

/// `pattern` with \s and \S written out; \S inside a class is left to PCRE2.
std::string with_white_space(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's' && in_class)
        out += kWhiteSpace;
      else if (next == 's')
        out.append("[").append(kWhiteSpace).append("]");
      else if (next == 'S' && !in_class)
        out.append("[^").append(kWhiteSpace).append("]");
      else
        out.append({'\\', next});
      continue;
    }
    if (c == '[' && !in_class) {
      in_class = true;
      out += c;
      // A ']' right after '[' or '[^' is an ordinary character.
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') out += pattern[++i];
      continue;
    }
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

using MatchContext = std::unique_ptr<pcre2_match_context, Pcre2Deleter<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Pcre2Deleter<pcre2_match_data_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Pcre2Deleter<pcre2_jit_stack_free>>;

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

/// Appends `piece` cut into groups of three characters, counted from its end.
void append_threes(std::string_view piece, std::vector<std::string_view>& pieces) {
  std::vector<std::size_t> ends;
  for (std::size_t at = 0; at < piece.size();) {
    const int bytes = utf8_at(piece, at).bytes;
    at += bytes == 0 ? 1 : static_cast<std::size_t>(bytes);
    ends.push_back(at);
  }
  std::size_t begin = 0;
  for (std::size_t i = 0; i < ends.size(); ++i)
    if ((ends.size() - 1 - i) % 3 == 0) {
      pieces.push_back(piece.substr(begin, ends[i] - begin));
      begin = ends[i];
    }
}

/// Runs one pattern over many texts.
class Matcher {
 public:
  Matcher(const pcre2_code* code, const std::string& where)
      : code_(code),
        where_(where),
        data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)) {
    if (!data_ || !context_) throw std::bad_alloc();
    pcre2_set_match_limit(context_.get(), kMatchLimit);
  }

  /// The first match at or after `at` as {begin, end}, or nothing. `text` is valid UTF-8.
  std::optional<std::pair<std::size_t, std::size_t>> next(std::string_view text, std::size_t at) {
    int rc = run(text, at, 0);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !stack_) {
      stack_.reset(pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr));
      if (!stack_) throw std::bad_alloc();
      pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
      rc = run(text, at, 0);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = run(text, at, PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) return std::nullopt;
    if (rc == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
    if (rc < 0)
      fail(ErrorKind::input, where_,
           ": a pattern of the pre-tokenizer cannot be applied: ", pcre2_message(rc));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data_.get());
    if (ends[0] < at || ends[1] < ends[0]) return std::pair{at, at};  // \K: counts as empty
    return std::pair{ends[0], ends[1]};
  }

 private:
  int run(std::string_view text, std::size_t at, std::uint32_t options) {
    return pcre2_match(code_, units(text), text.size(), at, options | PCRE2_NO_UTF_CHECK,
                       data_.get(), context_.get());
  }

  const pcre2_code* code_;
  const std::string& where_;
  MatchData data_;
  MatchContext context_;
  JitStack stack_;
};

/// Appends the pieces of `text` (valid UTF-8) that `matcher` cuts it into.
void split_valid(std::string_view text, Matcher& matcher, bool threes,
                 std::vector<std::string_view>& pieces) {
  std::size_t done = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const auto match = matcher.next(text, at);
    if (!match) break;
    const auto [begin, end] = *match;
    if (begin > done) pieces.push_back(text.substr(done, begin - done));
    done = end;
    if (end > begin) {
      if (threes)
        append_threes(text.substr(begin, end - begin), pieces);
      else
        pieces.push_back(text.substr(begin, end - begin));
      at = end;
    } else {  // an empty match cuts, too
      if (begin >= text.size()) break;
      at = begin + static_cast<std::size_t>(utf8_at(text, begin).bytes);
    }
  }
  if (done < text.size()) pieces.push_back(text.substr(done));
}

}  // namespace

const PreTokenizerInfo* find_pretokenizer(std::string_view name) noexcept {
  for (const PreTokenizerInfo& row : kRows)
    if (row.name == name) return &row;
  return nullptr;
}

std::span<const PreTokenizerInfo> all_pretokenizers() noexcept { return kRows; }

std::span<const char* const> patterns_of(const PreTokenizerInfo& row) noexcept {
  for (const Family& family : kFamilies)
    if (family.name == row.family) return family.patterns;
  return {};
}

struct PreTokenizer::Compiled {
  Code code;
  bool threes;
};

PreTokenizer::PreTokenizer(std::span<const std::string> patterns, std::string_view where)
    : where_(where) {
  for (const std::string& given : patterns) {
    const bool threes = given.starts_with('@');
    const std::string pattern = with_white_space(std::string_view(given).substr(threes ? 1 : 0));
    int error = 0;
    PCRE2_SIZE offset = 0;
    Code code(pcre2_compile(units(pattern), pattern.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                            nullptr));
    if (!code)
      fail(ErrorKind::input, where_, ": \"", given,
           "\" is not a regular expression: ", pcre2_message(error));
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // without it matching is just slower
    compiled_.push_back({std::move(code), threes});
  }
}
PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;

void PreTokenizer::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  // Valid stretches and single invalid bytes first: PCRE2 is given valid UTF-8 only.
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t valid = utf8_valid_bytes(text, at);
    if (valid > 0) parts.push_back(text.substr(at, valid));
    at += valid;
    if (at < text.size()) parts.push_back(text.substr(at++, 1));
  }
  std::vector<std::string_view> cut;
  for (const Compiled& step : compiled_) {
    Matcher matcher(step.code.get(), where_);
    cut.clear();
    for (const std::string_view part : parts) {
      const bool invalid = part.size() == 1 && static_cast<unsigned char>(part[0]) >= 0x80;
      if (invalid)
        cut.push_back(part);
      else
        split_valid(part, matcher, step.threes, cut);
    }
    parts.swap(cut);
  }
  pieces.insert(pieces.end(), parts.begin(), parts.end());
}

}  // namespace lq
