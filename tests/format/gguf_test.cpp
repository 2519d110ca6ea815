#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>

#include "lib/base/error.h"
#include "lib/base/sha256.h"
#include "lib/format/gguf_reader.h"
#include "lib/format/gguf_writer.h"
#include "lib/format/tensor_source.h"
#include "lib/io/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/mutate.h"
#include "tests/support/temp_dir.h"

using namespace lq;
using namespace lq::test;

namespace {

/// Writes what `source` holds.
void write_copy(const TensorSource& source, const std::filesystem::path& path) {
  GgufWriter writer(path, source.metadata(), source.tensors(), Existing::replace);
  for (std::size_t i = source.tensors().size(); i-- > 0;) {  // backwards: any order will do
    const auto data = source.data(i);
    const std::size_t half = data.size() / 2;
    writer.write(i, half, data.subspan(half));
    writer.write(i, 0, data.first(half));
  }
  writer.finish();
}

/// Every kind of value and of tensor that a file may hold.
GgufBuilder everything() {
  GgufBuilder b;
  b.string("general.architecture", "t").string("empty", "").string("nul", std::string("a\0b", 3));
  b.u8("u8", 255).key("i8", I8, Bytes().put(std::int8_t{-128})).u16("u16", 65535);
  b.key("i16", I16, Bytes().put(std::int16_t{-32768})).u32("u32", ~0u).i32("i32", -1);
  b.u64("u64", ~std::uint64_t{0}).i64("i64", INT64_MIN).f32("f32", 0.1f).f64("f64", 0.1);
  b.boolean("yes", true).boolean("no", false).strings("strings", {"x", "", "\xff"});
  b.strings("no strings", {}).numbers<std::uint8_t>("u8s", U8, {0, 255});
  b.numbers<std::int8_t>("i8s", I8, {-128, 127}).numbers<std::uint16_t>("u16s", U16, {65535});
  b.numbers<std::int16_t>("i16s", I16, {-32768}).numbers<std::uint32_t>("u32s", U32, {~0u});
  b.numbers<std::int32_t>("i32s", I32, {-1}).numbers<float>("f32s", F32, {0.1f, -0.0f});
  b.numbers<std::uint8_t>("bools", BOOL, {1, 0, 1}).numbers<std::uint64_t>("u64s", U64, {~0ull});
  b.numbers<std::int64_t>("i64s", I64, {INT64_MIN}).numbers<double>("f64s", F64, {0.1});
  b.floats("vector", {5}).floats("matrix", {4, 3}).floats("column", {1, 7, 1, 1});
  b.tensor({.name = "q", .dims = {64}, .type = 8, .data = std::vector<std::byte>(68)});
  return b;
}

}  // namespace

TEST_CASE("gguf: the example of the format description, byte for byte") {
  Metadata metadata;
  metadata.set("general.architecture", Value::of_string("t"));
  const TensorInfo tensors[] = {{"a", DType::F32, {2}}};
  const TempDir dir;
  GgufWriter writer(dir / "t.gguf", metadata, tensors, Existing::refuse);
  CHECK(writer.total_bytes() == 160);
  CHECK(gguf_file_bytes(metadata, tensors) == 160);
  const float values[] = {1.0f, -2.0f};
  writer.write(0, 0, std::as_bytes(std::span(values)));
  CHECK(dir.names().empty());
  writer.finish();

  constexpr unsigned char kHead[] = {
      0x47, 0x47, 0x55, 0x46, 0x03, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x00, 0x67, 0x65, 0x6e, 0x65, 0x72, 0x61, 0x6c, 0x2e, 0x61, 0x72,
      0x63, 0x68, 0x69, 0x74, 0x65, 0x63, 0x74, 0x75, 0x72, 0x65, 0x08, 0x00, 0x00, 0x00,
      0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x74, 0x01, 0x00, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x61, 0x01, 0x00, 0x00, 0x00, 0x02};
  std::string expected(160, '\0');
  std::memcpy(expected.data(), kHead, sizeof kHead);
  std::memcpy(expected.data() + 0x80, "\x00\x00\x80\x3f\x00\x00\x00\xc0", 8);
  CHECK(file_content(dir / "t.gguf") == expected);
  CHECK(sha256_hex(std::as_bytes(std::span(expected))) ==
        "bf09f57fa20e220ac2a8e564c7ce837640973f1337c137857b9802085b011863");

  const GgufReader reader(dir / "t.gguf");
  CHECK(reader.format() == "GGUF 3");
  CHECK(reader.metadata().string("general.architecture") == "t");
  REQUIRE(reader.tensors().size() == 1);
  CHECK(reader.tensors()[0].shape == std::vector<std::uint64_t>{2});
  CHECK(reader.find("a") == 0);
  CHECK(!reader.find("b"));
  CHECK(text_of(reader.data(0)) == expected.substr(0x80, 8));
}

TEST_CASE("gguf: every value type, shape and storage survives reading and writing") {
  const TempDir dir;
  const auto bytes = everything().build();
  const GgufReader reader(bytes, "memory");
  CHECK(reader.metadata().integer("u32", 0, ~0u) == ~0u);
  CHECK(reader.metadata().find("u64")->data == Value::Data(~std::uint64_t{0}));
  CHECK(reader.metadata().find("f32")->data == Value::Data(static_cast<double>(0.1f)));
  CHECK(reader.metadata().find_integers("bools") == std::vector<std::int64_t>{1, 0, 1});
  CHECK(reader.metadata().string("nul").size() == 3);
  CHECK(reader.tensors()[2].shape == std::vector<std::uint64_t>{1, 7, 1, 1});
  write_copy(reader, dir / "copy.gguf");
  CHECK(file_content(dir / "copy.gguf") == text_of(bytes));
}

TEST_CASE("gguf: what the format allows is accepted") {
  GgufBuilder nothing;
  CHECK(GgufReader(nothing.build(), "m").tensors().empty());
  CHECK(nothing.build().size() == 24);
  GgufBuilder keys_only;
  keys_only.string("unknown.key", "kept");
  const auto unpadded = keys_only.build();
  CHECK(unpadded.size() % 32 != 0);
  const TempDir dir;
  write_copy(GgufReader(unpadded, "m"), dir / "a");
  CHECK(file_content(dir / "a") == text_of(unpadded));
  for (std::uint32_t alignment = 1; alignment <= 65536; alignment *= 2) {
    GgufBuilder b;
    b.u32("general.alignment", alignment).floats("a", {3}).floats("b", {5});
    b.alignment = alignment;
    const auto bytes = b.build();
    write_copy(GgufReader(bytes, "m"), dir / "b");
    CHECK(file_content(dir / "b") == text_of(bytes));
  }
  GgufBuilder version_2 = everything();
  version_2.version = 2;
  CHECK(GgufReader(version_2.build(), "m").format() == "GGUF 2");
  GgufBuilder scalar;
  scalar.tensor({.name = "s", .dims = {}, .data = std::vector<std::byte>(4)});
  CHECK(GgufReader(scalar.build(), "m").data(0).size() == 4);
  auto no_last_padding = GgufBuilder().floats("a", {3}).build();
  no_last_padding.resize(no_last_padding.size() - 20);
  CHECK(GgufReader(no_last_padding, "m").data(0).size() == 12);
  GgufBuilder longest;
  longest.floats(std::string(63, 'n'), {1});
  CHECK(GgufReader(longest.build(), "m").find(std::string(63, 'n')) == 0);
}

TEST_CASE("gguf: every broken file is refused with a message that names it, at once") {
  for (const auto& model : malformed_models()) {
    CAPTURE(model.name);
    const auto start = std::chrono::steady_clock::now();
    const auto error = error_of([&] { GgufReader reader(model.bytes, "bad.gguf"); });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    CHECK(elapsed.count() < 0.1);
    CHECK(error.has_value() == model.bad_container);
    if (!error) continue;
    CAPTURE(error->what());
    CHECK((error->kind() == ErrorKind::input || error->kind() == ErrorKind::unsupported));
    CHECK(std::string(error->what()).rfind("bad.gguf: ", 0) == 0);
    CHECK(std::string(error->what()).size() < 300);
  }
}

TEST_CASE("gguf: messages say what was found") {
  const auto models = malformed_models();
  const auto bytes_of = [&](const std::string& name) {
    for (const auto& model : models)
      if (model.name == name) return model.bytes;
    throw std::runtime_error("no such model: " + name);
  };
  const auto message = [&](const std::string& name) -> std::string {
    return error_of([&] { GgufReader reader(bytes_of(name), "m"); }).value().what();
  };
  CHECK(holds(message("version_1"), "GGUF version 1"));
  CHECK(holds(message("version_50331648"), "big-endian"));
  CHECK(holds(message("version_4"), "newer than this program"));
  CHECK(holds(message("alignment_48"), "general.alignment"));
  CHECK(holds(message("duplicate_key"), "'a' appears twice"));
  CHECK(holds(message("duplicate_tensor"), "'t' appears twice"));
  CHECK(holds(message("array_of_arrays"), "array of arrays"));
  CHECK(holds(message("storage_type_31"), "storage type 31"));
  CHECK(holds(message("n_dims_5"), "5 dimensions"));
  CHECK(holds(message("row_not_whole_blocks"), "rows of 33 values"));
  CHECK(holds(message("second_offset_160"), "data offset 160; expected 128"));
  CHECK(holds(message("data_cut"), "truncated"));
}

TEST_CASE("gguf: any damaged byte gives an error or a file that can be used") {
  const TempDir dir;
  std::size_t valid = 0, refused = 0;
  for_each_mutation(everything().build(), [&](std::span<const std::byte> bytes) {
    try {
      const GgufReader reader(bytes, "damaged");
      std::size_t sum = 0;
      for (std::size_t i = 0; i < reader.tensors().size(); ++i)
        for (const std::byte b : reader.data(i)) sum += std::to_integer<std::size_t>(b);
      CHECK(gguf_file_bytes(reader.metadata(), reader.tensors()) > 0);
      valid += sum < SIZE_MAX;
    } catch (const Error&) {
      ++refused;
    }
  });
  CHECK(valid > 100);
  CHECK(refused > 1000);
}

TEST_CASE("gguf: split models are opened from any part and checked") {
  const TempDir dir;
  const auto part = [&](std::uint16_t no, std::uint16_t count, const char* tensor) {
    GgufBuilder b;
    if (no == 0) b.string("general.architecture", "t");
    b.u16("split.no", no).u16("split.count", count).i32("split.tensors.count", 2);
    if (*tensor) b.floats(tensor, {8, 2});
    return b.build();
  };
  dir.write("m-00001-of-00003.gguf", part(0, 3, ""));
  dir.write("m-00002-of-00003.gguf", part(1, 3, "a"));
  dir.write("m-00003-of-00003.gguf", part(2, 3, "b"));
  for (const char* name : {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"}) {
    const GgufReader reader(dir / name);
    REQUIRE(reader.tensors().size() == 2);
    CHECK(reader.find("b") == 1);
    CHECK(reader.files().size() == 3);
    CHECK(reader.metadata().string("general.architecture") == "t");
    CHECK(reader.metadata().integer("split.count", 0, 9) == 3);
    CHECK(text_of(reader.data(0)) == text_of(reader.data(1)));
    reader.release(1);
    CHECK(reader.data(1).size() == 64);
  }
  const auto message = [&](ErrorKind kind) {
    return message_of(kind, [&] { GgufReader reader(dir / "m-00001-of-00003.gguf"); });
  };
  dir.write("m-00003-of-00003.gguf", part(1, 3, "b"));
  CHECK(holds(message(ErrorKind::input), "says that it is part 2 of 3; expected part 3 of 3"));
  dir.write("m-00003-of-00003.gguf", part(2, 4, "b"));
  CHECK(holds(message(ErrorKind::input), "says that it is part 3 of 4"));
  dir.write("m-00003-of-00003.gguf", part(2, 3, "a"));
  CHECK(holds(message(ErrorKind::input), "tensor 'a' appears twice"));
  dir.write("m-00003-of-00003.gguf", part(2, 3, ""));
  CHECK(holds(message(ErrorKind::input), "have 1 tensors; expected 2"));
  std::filesystem::remove(dir / "m-00003-of-00003.gguf");
  CHECK(holds(message(ErrorKind::file),
              "m-00003-of-00003.gguf: part 3 of 3 of the model is missing"));
  dir.write("renamed.gguf", part(0, 3, ""));
  CHECK(holds(message_of(ErrorKind::input, [&] { GgufReader reader(dir / "renamed.gguf"); }),
              "expected NAME-00001-of-00003.gguf"));
}

TEST_CASE("gguf: the writer refuses what the format cannot hold") {
  const TempDir dir;
  const auto message = [&](const std::vector<TensorInfo>& tensors) {
    return message_of(ErrorKind::unsupported, [&] { gguf_file_bytes(Metadata(), tensors); });
  };
  CHECK(holds(message({{std::string(64, 'a'), DType::F32, {1}}}), "has 64 bytes"));
  CHECK(holds(message({{"t", DType::F32, {1, 1, 1, 1, 1}}}), "5 dimensions"));
  CHECK(holds(message({{"t", DType::Q8_0, {33}}}), "rows of 33 values"));
  CHECK(holds(message({{"t", DType::F32, {1}}, {"t", DType::F32, {1}}}), "written twice"));
}

TEST_CASE("gguf: nothing is left of a file whose writer fails or is killed") {
  const TempDir dir;
  const TensorInfo tensors[] = {{"a", DType::F32, {1 << 20}}};
  { GgufWriter writer(dir / "a.gguf", Metadata(), tensors, Existing::refuse); }
  CHECK(dir.names().empty());
  const pid_t child = ::fork();
  if (child == 0) {
    GgufWriter writer(dir / "a.gguf", Metadata(), tensors, Existing::refuse);
    const std::vector<std::byte> half(1 << 21);
    writer.write(0, 0, half);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK(dir.names().empty());
  CHECK(holds(message_of(ErrorKind::file,
                         [&] {
                           GgufWriter writer("/dev/full", Metadata(), tensors, Existing::refuse);
                           writer.write(0, 0, std::vector<std::byte>(1 << 22));
                           writer.finish();
                         }),
              "/dev/full: cannot write: no space left on device"));
}

TEST_CASE("models are opened by content; other files are named for what they are") {
  const TempDir dir;
  const auto bytes = tiny_llama().build();
  dir.write("model.bin", bytes);
  CHECK(open_source(dir / "model.bin")->format() == "GGUF 3");
  write_text(dir / "model.gguf.zst", text_of(bytes), Existing::refuse);
  CHECK(file_content(dir / "model.gguf.zst").size() < bytes.size());
  const auto expanded = open_source(dir / "model.gguf.zst");
  CHECK(text_of(expanded->data(1)) == text_of(open_source(dir / "model.bin")->data(1)));
  CHECK(expanded->files() == std::vector{dir / "model.gguf.zst"});
  const auto message = [&](std::string_view content) {
    return message_of(ErrorKind::unsupported, [&] { open_source(dir.write("x", content)); });
  };
  CHECK(holds(message("hello"), "of an unknown format; models are read from GGUF files"));
  CHECK(holds(message(""), "empty file"));
  CHECK(holds(message("PK\3\4..."), "PyTorch"));
  CHECK(holds(message("version https://git-lfs.github.com/spec/v1\n"), "Git LFS"));
  CHECK(holds(message("lmgg"), "before GGUF"));
  CHECK(holds(message_of(ErrorKind::file, [&] { open_source(dir / "none"); }), "no such file"));
}
