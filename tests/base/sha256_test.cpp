#include "lib/base/sha256.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace {

std::string sha256_of(std::string_view text) {
  return lq::sha256_hex(std::as_bytes(std::span(text)));
}

}  // namespace

TEST_CASE("SHA-256 gives the digests of FIPS 180-4 and of sha256sum") {
  CHECK(sha256_of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256_of(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 does not depend on how the bytes are cut") {
  // Digest of all lengths 0..200 of 'x', concatenated, by: for n in range(201): sha256(b'x' * n)
  lq::Sha256 digests;
  for (std::size_t n = 0; n <= 200; ++n) {
    const std::string text(n, 'x');
    const auto bytes = std::as_bytes(std::span(text));
    for (std::size_t cut = 0; cut <= n; cut += 13) {
      lq::Sha256 parts;
      parts.update(bytes.first(cut));
      parts.update(bytes.subspan(cut));
      CHECK(lq::to_hex(parts.finish()) == lq::sha256_hex(bytes));
    }
    lq::Sha256 whole;
    whole.update(bytes);
    const auto digest = whole.finish();
    digests.update(std::as_bytes(std::span(digest)));
  }
  CHECK(lq::to_hex(digests.finish()) ==
        "2e9fcf76499976b60177466c31b8ab5caa7d4c6dd8dd97c8ce7b574af689ec94");
}
