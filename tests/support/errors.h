#pragma once
// What a failing call has to say.
#include <optional>
#include <string>

#include "lib/base/error.h"

namespace lq::test {

/// The error that `body` throws; nothing when it returns.
template <class Body>
std::optional<Error> error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

/// The message of the error that `body` throws if it is of this kind; "" when it returns.
template <class Body>
std::string message_of(ErrorKind kind, const Body& body) {
  const auto error = error_of(body);
  if (!error) return "";
  return (error->kind() == kind ? "" : "of another kind: ") + std::string(error->what());
}

template <class Body>
std::string input_error(const Body& body) {
  return message_of(ErrorKind::input, body);
}

/// Whether `text` holds `part`: for messages.
inline bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace lq::test
