#pragma once
// The option for the type of the cache, for every tool that has one.
#include <string>
#include <vector>

#include "lib/backend/backend.h"
#include "tools/cli/options.h"

namespace lq {

/// `Value` is std::string, or an optional of it.
template <class Value>
CLI::Option* add_kv_type(CLI::App& app, Value& value, const std::string& defaults) {
  std::vector<std::string> names;
  for (const DType type : cache_types()) names.push_back(cache_type_name(type));
  return app.add_option("--kv-type", value, "numbers in the cache of keys and values; " + defaults)
      ->check(cli::choice(names));
}

}  // namespace lq
