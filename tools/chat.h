#pragma once
// The conversation in a terminal.
#include "lib/infer/conversation.h"
#include "lib/infer/session.h"
#include "tools/cli/tool.h"

namespace lq {

struct ChatSettings {
  SamplerOptions sampler;
  std::uint64_t seed = 0;
  GenerateOptions generate;
  bool show_prompt = false;
  bool stats = false;
};

/// Reads messages and commands until the input ends or /exit. Ctrl-C stops an answer.
void chat(const Model& model, Conversation& conversation, Session& session,
          const ChatSettings& settings, const cli::Context& context);

}  // namespace lq
