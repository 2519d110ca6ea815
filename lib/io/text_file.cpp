#include "lib/io/text_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "lib/base/error.h"
#include "lib/io/descriptor.h"
#include "lib/io/zstd_stream.h"

namespace lq {

std::string read_text(const std::filesystem::path& path, std::size_t limit) {
  const bool standard = path == "-";
  const std::string name = standard ? "standard input" : path.string();
  const Descriptor opened = standard ? Descriptor() : open_for_reading(path);
  const int file = standard ? STDIN_FILENO : opened.get();

  std::string text;
  const ByteSink take = [&](std::span<const std::byte> bytes) {
    if (bytes.size() > limit - text.size())
      fail(ErrorKind::input, name, ": too large: more than ", limit, " bytes");
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  // Collected first: a pipe may deliver fewer bytes than it takes to tell what the content is.
  std::vector<std::byte> piece(1 << 17);
  std::size_t n = 0, got = 0;
  do n += got = read_some(file, std::span(piece).subspan(n), name);
  while (got > 0 && n < piece.size());

  const auto head = std::span<const std::byte>(piece).first(n);
  if (!is_zstd(head)) {
    take(head);
    while ((n = read_some(file, piece, name)) > 0) take(std::span(piece).first(n));
    return text;
  }
  ZstdExpander expander(name);
  expander.feed(head, take);
  while ((n = read_some(file, piece, name)) > 0) expander.feed(std::span(piece).first(n), take);
  expander.finish();
  return text;
}

void write_text(const std::filesystem::path& path, std::string_view text, Existing existing) {
  AtomicFile file(path == "-" ? std::filesystem::path("/dev/stdout") : path, existing);
  file.append(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace lq
