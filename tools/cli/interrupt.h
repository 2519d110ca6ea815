#pragma once
// Ctrl-C, SIGTERM and a closed terminal: the first asks to stop, the second ends the process at
// once.

namespace lq::cli {

/// Installs the handlers, ignores SIGPIPE (a closed stdout is seen by print()), and makes sure that
/// descriptors 0 to 2 are open. Blocking reads end with EINTR when a signal comes.
void prepare_process();

bool stop_requested();
/// Forgets the request: the chat stops an answer and goes on.
void clear_stop();

}  // namespace lq::cli
