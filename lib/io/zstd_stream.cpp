#include "lib/io/zstd_stream.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <vector>

#include "lib/base/error.h"

namespace lq {
namespace {

constexpr std::array<std::byte, 4> kFrameMagic = {std::byte{0x28}, std::byte{0xb5}, std::byte{0x2f},
                                                  std::byte{0xfd}};
constexpr int kCompressionLevel = 9;

}  // namespace

bool is_zstd(std::span<const std::byte> head) {
  return head.size() >= kFrameMagic.size() &&
         std::equal(kFrameMagic.begin(), kFrameMagic.end(), head.begin());
}

std::uint64_t expansion_limit(std::uint64_t compressed_bytes) {
  constexpr std::uint64_t kRatio = 256, kLeast = std::uint64_t{1} << 30;
  if (compressed_bytes > std::numeric_limits<std::uint64_t>::max() / kRatio)
    return std::numeric_limits<std::uint64_t>::max();
  return std::max(kLeast, compressed_bytes * kRatio);
}

struct ZstdExpander::State {
  std::string name;
  ZSTD_DStream* stream = nullptr;
  std::vector<std::byte> buffer;
  std::uint64_t fed = 0;  ///< compressed bytes so far, for messages
  bool in_frame = false;  ///< a frame was begun and has not ended

  ~State() { ZSTD_freeDStream(stream); }
};

ZstdExpander::ZstdExpander(std::string name) : state_(std::make_unique<State>()) {
  state_->name = std::move(name);
  state_->stream = ZSTD_createDStream();
  if (!state_->stream) throw std::bad_alloc();
  state_->buffer.resize(ZSTD_DStreamOutSize());
}

ZstdExpander::~ZstdExpander() = default;

void ZstdExpander::feed(std::span<const std::byte> piece, const ByteSink& sink) {
  ZSTD_inBuffer in{piece.data(), piece.size(), 0};
  bool more = true;
  while (in.pos < in.size || more) {
    ZSTD_outBuffer out{state_->buffer.data(), state_->buffer.size(), 0};
    const bool at_frame_end = !state_->in_frame;
    if (in.pos == in.size && at_frame_end) break;
    const std::size_t left = ZSTD_decompressStream(state_->stream, &out, &in);
    if (ZSTD_isError(left))
      fail(ErrorKind::input, state_->name, ": damaged zstd content near byte ",
           state_->fed + in.pos, ": ", ZSTD_getErrorName(left));
    state_->in_frame = left != 0;
    if (out.pos > 0) sink(std::span(state_->buffer).first(out.pos));
    more = out.pos == out.size;  // a full buffer: there may be output without further input
  }
  state_->fed += piece.size();
}

void ZstdExpander::finish() const {
  if (state_->in_frame || state_->fed == 0)
    fail(ErrorKind::input, state_->name, ": truncated zstd content: it ends at byte ", state_->fed,
         " within a frame");
}

void zstd_compress(const ByteFeed& feed, const ByteSink& sink) {
  const std::unique_ptr<ZSTD_CStream, decltype(&ZSTD_freeCStream)> stream(ZSTD_createCStream(),
                                                                          &ZSTD_freeCStream);
  if (!stream) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(stream.get(), ZSTD_c_compressionLevel, kCompressionLevel);
  ZSTD_CCtx_setParameter(stream.get(), ZSTD_c_checksumFlag, 1);
  std::vector<std::byte> piece(ZSTD_CStreamInSize()), buffer(ZSTD_CStreamOutSize());
  bool ended = false;
  while (!ended) {
    ZSTD_inBuffer in{piece.data(), feed(piece), 0};
    ended = in.size == 0;
    bool more = true;
    while (more) {
      ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
      const std::size_t left =
          ZSTD_compressStream2(stream.get(), &out, &in, ended ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left))
        fail(ErrorKind::failure, "zstd compression: ", ZSTD_getErrorName(left));
      sink(std::span(buffer).first(out.pos));
      more = ended ? left > 0 : in.pos < in.size;
    }
  }
}

}  // namespace lq
