#include "lib/jobs/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <set>
#include <type_traits>

#include "lib/base/build_info.h"
#include "lib/base/error.h"
#include "lib/base/sha256.h"
#include "lib/format/gguf_writer.h"
#include "lib/io/mapped_file.h"

namespace lq {
namespace {

constexpr char kJournalMagic[8] = {'l', 'q', 'j', 'r', 'n', 'l', '1', '\n'};
constexpr std::uint64_t kNaming = ~std::uint64_t{0};  ///< in place of a piece's number
constexpr std::size_t kInputHead = 1 << 20;           ///< bytes of an input that are compared

struct Head {
  char magic[sizeof kJournalMagic];
  Journal::Identity identity;
};

void update(Sha256& sha, std::string_view text) {
  sha.update(std::as_bytes(std::span(text)));
  sha.update(std::as_bytes(std::span("\n", 1)));
}

void update(Sha256& sha, std::uint64_t number) { update(sha, std::to_string(number)); }

void update_input(Sha256& sha, const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail_errno(path.string(), "open");
  update(sha, static_cast<std::uint64_t>(status.st_size));
  update(sha, static_cast<std::uint64_t>(status.st_mtim.tv_sec));
  update(sha, static_cast<std::uint64_t>(status.st_mtim.tv_nsec));
  sha.update(read_head(path, kInputHead));
}

void update_tensor(Sha256& sha, const PlannedTensor& tensor) {
  update(sha, tensor.output.name);
  update(sha, tensor.file);
  update(sha, traits(tensor.source_type()).name);
  update(sha, tensor.source ? tensor.source_index + 1 : 0);
  sha.update(std::as_bytes(std::span(tensor.values)));
  if (tensor.importance) sha.update(std::as_bytes(std::span(*tensor.importance)));
}

}  // namespace

struct Journal::Record {
  FinishedPiece piece;
  std::uint64_t check = 0;  ///< quick_digest() of `piece`

  static_assert(std::is_trivially_copyable_v<FinishedPiece>, "records are stored as they are");

  std::uint64_t expected() const {
    return quick_digest(std::as_bytes(std::span(&piece, std::size_t{1})));
  }
};

std::uint64_t quick_digest(std::span<const std::byte> bytes) {
  // Four lanes of multiply and rotate, so that it runs about as fast as memory is read.
  constexpr std::uint64_t kFactor = 0x9e3779b97f4a7c15, kOther = 0xd6e8feb86659fd93;
  // Named one by one they stay in registers.
  std::uint64_t a = 1, b = 2, c = 3, d = 4, words[4];
  std::size_t at = 0;
  for (; at + sizeof words <= bytes.size(); at += sizeof words) {
    std::memcpy(words, bytes.data() + at, sizeof words);
    a = std::rotl((a ^ words[0]) * kFactor, 29);
    b = std::rotl((b ^ words[1]) * kFactor, 29);
    c = std::rotl((c ^ words[2]) * kFactor, 29);
    d = std::rotl((d ^ words[3]) * kFactor, 29);
  }
  std::uint64_t sum = bytes.size();
  for (; at < bytes.size(); ++at)
    sum = std::rotl((sum ^ static_cast<std::uint64_t>(bytes[at])) * kFactor, 29);
  for (const std::uint64_t lane : {a, b, c, d}) {
    sum = (sum ^ lane) * kOther;
    sum ^= sum >> 32;
  }
  return sum;
}

std::filesystem::path journal_path(const std::filesystem::path& first_output) {
  return first_output.string() + ".lq-journal";
}

Journal::Identity identity_of(const Plan& plan, const Share& share) {
  Sha256 sha;
  update(sha, build_info().version);
  update(sha, sizeof(FinishedPiece));
  update(sha, share.k);
  update(sha, share.n);
  std::set<const TensorSource*> sources;
  for (const PlannedTensor& tensor : plan.tensors) {
    update_tensor(sha, tensor);
    if (tensor.source) sources.insert(tensor.source);
  }
  for (std::size_t file = 0; file < plan.n_files(); ++file)
    update(sha, gguf_header(plan.file_metadata(file), plan.outputs(file)));
  std::set<std::filesystem::path> inputs;  // by name: addresses have no lasting order
  for (const TensorSource* source : sources)
    for (const auto& path : source->files()) inputs.insert(path);
  for (const auto& path : inputs) update_input(sha, path);
  return sha.finish();
}

Journal::Identity identity_of(std::string_view settings,
                              std::span<const std::filesystem::path> inputs) {
  Sha256 sha;
  update(sha, build_info().version);
  update(sha, sizeof(FinishedPiece));
  update(sha, settings);
  for (const auto& path : inputs) update_input(sha, path);
  return sha.finish();
}

Journal::Journal(const std::filesystem::path& path, const Identity& identity, bool replace)
    : path_(path) {
  const std::string name = path.string();
  file_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file_) fail_errno(name, "open");
  struct stat status {};
  const bool locked = ::flock(file_.get(), LOCK_EX | LOCK_NB) == 0;
  // Without a name it is that of a run that has just ended.
  if (!locked || ::fstat(file_.get(), &status) != 0 || status.st_nlink == 0)
    fail(ErrorKind::file, name, ": another run is writing this model");
  Head head{};
  const std::size_t n = read_some(file_.get(), std::as_writable_bytes(std::span(&head, 1)), name);
  const bool known =
      n == sizeof head && std::memcmp(head.magic, kJournalMagic, sizeof kJournalMagic) == 0;
  if (known && head.identity == identity) {
    continued_ = true;
    read_records();
    return;
  }
  if (n > 0 && !replace)
    fail(ErrorKind::usage, name, ": ",
         known ? "what was kept there is of another input, other options or another version"
               : "is not a journal of an earlier run",
         "; --force begins anew");
  if (::ftruncate(file_.get(), 0) != 0) fail_errno(name, "write");
  std::memcpy(head.magic, kJournalMagic, sizeof kJournalMagic);
  head.identity = identity;
  write_all(file_.get(), std::as_bytes(std::span(&head, 1)), name);
}

void Journal::read_records() {
  Record record;
  off_t good = sizeof(Head);
  for (;;) {
    const auto bytes = std::as_writable_bytes(std::span(&record, 1));
    if (read_some(file_.get(), bytes, path_.string()) != bytes.size()) break;
    if (record.check != record.expected()) break;
    good += static_cast<off_t>(sizeof record);
    if (record.piece.piece == kNaming)
      naming_ = true;
    else
      finished_.push_back(record.piece);
  }
  if (::ftruncate(file_.get(), good) != 0) fail_errno(path_.string(), "write");
}

void Journal::append(const Record& record) {
  const std::lock_guard lock(mutex_);
  write_all(file_.get(), std::as_bytes(std::span(&record, 1)), path_.string());
}

void Journal::add(const FinishedPiece& piece) {
  Record record{piece};
  record.check = record.expected();
  append(record);
}

void Journal::begin_naming() {
  Record record;
  record.piece.piece = kNaming;
  record.check = record.expected();
  append(record);
}

void Journal::remove() {
  if (::unlink(path_.c_str()) != 0) fail_errno(path_.string(), "remove");
  file_.reset();
}

}  // namespace lq
