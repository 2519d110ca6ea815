#define PCRE2_CODE_UNIT_WIDTH 8
#include "lib/jobs/module_pattern.h"

#include <pcre2.h>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr std::uint32_t kPatternSteps = 100'000, kPatternDepth = 1000, kPatternKilobytes = 1024;
constexpr std::size_t kLongestPattern = 16 * 1024;

PCRE2_SPTR code_units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct ModulePattern::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

ModulePattern::ModulePattern(std::string pattern, const std::string& where)
    : pattern_(std::move(pattern)), where_(where), compiled_(std::make_unique<Compiled>()) {
  if (pattern_.size() > kLongestPattern)
    fail(ErrorKind::input, where_, ": the pattern ", quote(pattern_), " has ", pattern_.size(),
         " bytes; expected at most ", kLongestPattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->code =
      pcre2_compile(code_units(pattern_), pattern_.size(), PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C,
                    &error, &offset, nullptr);
  if (!compiled_->code)
    fail(ErrorKind::input, where_, ": ", quote(pattern_), " is not a regular expression");
}
ModulePattern::~ModulePattern() = default;
ModulePattern::ModulePattern(ModulePattern&&) noexcept = default;
ModulePattern& ModulePattern::operator=(ModulePattern&&) noexcept = default;

bool ModulePattern::matches(std::string_view name) const {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_set_match_limit(context, kPatternSteps);
  pcre2_set_depth_limit(context, kPatternDepth);
  pcre2_set_heap_limit(context, kPatternKilobytes);
  const int found =
      pcre2_match(compiled_->code, code_units(name), name.size(), 0, 0, data, context);
  pcre2_match_data_free(data);
  pcre2_match_context_free(context);
  if (found < 0 && found != PCRE2_ERROR_NOMATCH)
    fail(ErrorKind::input, where_, ": the pattern ", quote(pattern_),
         " takes too much work for the name ", quote(name));
  return found >= 0;
}

}  // namespace lq
