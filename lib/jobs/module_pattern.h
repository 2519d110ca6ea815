#pragma once
// Regular expressions that configurations of checkpoints choose modules by.
#include <memory>
#include <string>
#include <string_view>

namespace lq {

/// Matches from the start of a name, not necessarily to its end, as Python's re.match does. The
/// work is limited: patterns come from files.
class ModulePattern {
 public:
  /// Throws Error(input) that begins with `where` for a pattern that is none.
  ModulePattern(std::string pattern, const std::string& where);
  ~ModulePattern();
  ModulePattern(ModulePattern&&) noexcept;
  ModulePattern& operator=(ModulePattern&&) noexcept;

  /// Throws Error(input) when the pattern takes too much work.
  bool matches(std::string_view name) const;

 private:
  struct Compiled;
  std::string pattern_, where_;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace lq
