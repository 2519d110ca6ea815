#pragma once
// Vocabularies and expected ids from testdata/tokenizers.
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/format/metadata.h"

namespace lq::test {

/// Metadata stored as one JSON object: NAME.vocab.json.zst.
Metadata read_vocabulary(const std::string& name);
/// The values of a file with one JSON value a line.
std::vector<Json> read_json_lines(const std::string& file);
/// strings.jsonl.zst: 2,000 awkward texts.
std::vector<std::string> read_awkward_texts();

}  // namespace lq::test
