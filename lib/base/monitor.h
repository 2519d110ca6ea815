#pragma once
// How a job talks to whoever started it: warnings, progress, and the wish to stop.
#include <cstdint>
#include <string_view>

#include "lib/base/error.h"

namespace lq {

/// What the amounts of a progress report count.
enum class Unit { bytes, tokens, items };

/// Receives what a job has to say. The base class ignores everything; the tools show it, tests
/// collect it. Calls come from one thread at a time.
class Monitor {
 public:
  virtual ~Monitor() = default;
  /// One line about something unexpected that does not stop the job.
  virtual void warning(std::string_view) {}
  /// A phase of work begins; `total` of 0 means that the amount is not known.
  virtual void begin(std::string_view /*what*/, std::uint64_t /*total*/, Unit) {}
  virtual void advance(std::uint64_t /*amount*/) {}
  virtual void end() {}
  /// True once the user asked to stop. Jobs ask between pieces of work of at most some 100 ms.
  virtual bool stop_requested() const { return false; }

  /// Throws Error(interrupted) once the user asked to stop.
  void check_stop() const {
    if (stop_requested()) fail(ErrorKind::interrupted, "interrupted");
  }
};

}  // namespace lq
