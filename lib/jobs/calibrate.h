#pragma once
// Importance measured with our own engine: the model reads a text.
#include <filesystem>
#include <string>

#include "lib/base/monitor.h"
#include "lib/infer/decoder.h"
#include "lib/infer/model.h"
#include "lib/jobs/importance.h"

namespace lq {

struct CalibrateOptions {
  std::string text;                    ///< file, "-": standard input; stored as the dataset's name
  int chunk_size = kDefaultChunkSize;  ///< tokens that are read together, without the others
  int max_chunks = 0;                  ///< 0: the whole text
  bool parse_special = false;          ///< recognise control tokens in the text
  bool with_output = false;            ///< output.weight, too
  int threads = 1;
  std::filesystem::path save;  ///< written now and then, and when interrupted; empty: not at all
  Existing existing = Existing::refuse;  ///< of `save`
  /// Goes on after the chunks that `save` already has, if it exists. It has to be of the same
  /// model, text and chunk size, in GGUF form.
  bool resume = false;
  MatmulObserver* observer = nullptr;  ///< sees the products instead; nothing is measured then
};

/// Reads the text in chunks of chunk_size tokens, each with an empty cache and, where the model
/// wants one, the begin token in place of its first; the rest that fills no chunk is left out.
/// `model` is of a family that can be run. The result does not depend on the number of threads, nor
/// on interruptions. Throws Error(input) for texts of less than one chunk, and when the model
/// computes numbers that are not finite; Error(usage) when `save` cannot be continued;
/// Error(interrupted).
ImportanceMatrix calibrate(const Model& model, const CalibrateOptions& options, Monitor& monitor);

}  // namespace lq
