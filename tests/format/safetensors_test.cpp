#include "lib/format/safetensors.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "lib/base/error.h"
#include "lib/format/hf_directory.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/mutate.h"
#include "tests/support/temp_dir.h"

using namespace lq;
using namespace lq::test;

namespace {

/// A file with this header and `n_bytes` of data: 0, 1, 2, ...
std::vector<std::byte> file_of(std::string_view header, std::size_t n_bytes) {
  Bytes out;
  out.put(std::uint64_t{header.size()}).text(header);
  for (std::size_t i = 0; i < n_bytes; ++i) out.put(static_cast<std::uint8_t>(i));
  return out.all;
}

/// A header entry.
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{" + entry("t", dtype, shape, offsets) + "}";
}

const std::string kTwo =
    "{\"__metadata__\":{\"format\":\"pt\"}," + entry("b", "F32", "[2,3]", "[0,24]") + "," +
    entry("a.10", "BF16", "[4]", "[24,32]") + "," + entry("a.2", "F8_E4M3", "[1,2]", "[32,34]") +
    "," + entry("scalar", "F32", "[]", "[34,38]") + "," + entry("none", "F16", "[0]", "[34,34]") +
    "}  ";

std::string message(const std::string& header, std::size_t n_bytes,
                    ErrorKind kind = ErrorKind::input) {
  const auto bytes = file_of(header, n_bytes);
  return message_of(kind, [&] { SafetensorsReader reader(bytes, "m"); });
}

}  // namespace

TEST_CASE("safetensors: names sorted, shapes reversed, bytes in place") {
  const auto bytes = file_of(kTwo, 38);
  const SafetensorsReader reader(bytes, "m.safetensors");
  REQUIRE(reader.tensors().size() == 5);
  CHECK(reader.tensors()[0].name == "a.10");
  CHECK(reader.tensors()[1].name == "a.2");
  CHECK(reader.tensors()[2].name == "b");
  CHECK(reader.tensors()[2].shape == std::vector<std::uint64_t>{3, 2});
  CHECK(reader.tensors()[2].type == DType::F32);
  CHECK(reader.tensors()[0].type == DType::BF16);
  CHECK(reader.data(0).size() == 8);
  CHECK(reader.data(0)[0] == std::byte{24});
  CHECK(reader.data(2)[23] == std::byte{23});
  const auto scalar = reader.find("scalar").value();
  CHECK(reader.tensors()[scalar].shape.empty());
  CHECK(reader.data(scalar).size() == 4);
  CHECK(reader.data(reader.find("none").value()).empty());
  CHECK(reader.metadata().entries().empty());
}

TEST_CASE("safetensors: a storage without a type of ours fails when it is used, not before") {
  const auto bytes = file_of(kTwo, 38);
  const SafetensorsReader reader(bytes, "m.safetensors");
  const auto fp8 = reader.find("a.2").value();
  CHECK(reader.stored_as(fp8) == "F8_E4M3");
  CHECK(reader.is_foreign(fp8));
  CHECK(!reader.is_foreign(0));
  CHECK(reader.raw_data(fp8).size() == 2);
  CHECK(message_of(ErrorKind::unsupported, [&] { reader.data(fp8); }) ==
        "m.safetensors: tensor 'a.2' is stored as F8_E4M3, which is not supported here");
  CHECK(holds(message(one("F3", "[1]", "[0,1]"), 1, ErrorKind::unsupported), "stored as 'F3'"));
  CHECK(message(one("F4", "[4]", "[0,2]"), 2) == "");
  CHECK(holds(message(one("F4", "[3]", "[0,1]"), 1), "does not fill whole bytes"));
}

TEST_CASE("safetensors: what does not fit together is refused") {
  CHECK(message(one("F32", "[2]", "[0,8]"), 8) == "");
  CHECK(holds(message(one("F32", "[2]", "[0,8]"), 7), "truncated"));
  CHECK(holds(message(one("F32", "[2]", "[0,8]"), 9), "1 bytes after the last tensor"));
  CHECK(
      holds(message(one("F32", "[2]", "[4,12]"), 12), "begins at byte 4 of the data; expected 0"));
  CHECK(holds(message(one("F32", "[3]", "[0,8]"), 8), "has 8 bytes; expected 12"));
  CHECK(holds(message(one("F32", "[2]", "[8,0]"), 8), "not a range"));
  CHECK(holds(message(one("F32", "[2]", "[0]"), 8), "not a range"));
  CHECK(holds(message(one("F32", "[-2]", "[0,8]"), 8), "shape holds something that is no size"));
  CHECK(holds(message(one("F32", "[2.0]", "[0,8]"), 8), "no size"));
  CHECK(holds(message(one("F32", "2", "[0,8]"), 8), "shape is not an array"));
  CHECK(holds(message(one("F32", "[4611686018427387904,4]", "[0,0]"), 0), "too large"));
  CHECK(holds(message(one("F32", "[4611686018427387904,4,0]", "[0,0]"), 0), "too large"));
  CHECK(holds(message(one("F32", "[99999999999999999999]", "[0,0]"), 0), "no size"));
  CHECK(holds(message("{\"t\":{\"dtype\":\"F32\",\"shape\":[]}}", 0), "has no data_offsets"));
  CHECK(holds(message("{\"t\":[]}", 0), "has no dtype"));
  CHECK(holds(message("{\"t\":{\"dtype\":1}}", 0), "dtype is not a string"));
  CHECK(holds(message("[]", 0), "not a JSON object"));
  CHECK(holds(message("{\"t\":", 0), "invalid JSON"));
  CHECK(holds(
      message("{" + entry("a", "U8", "[4]", "[0,4]") + "," + entry("b", "U8", "[4]", "[2,6]") + "}",
              6),
      "begins at byte 2 of the data; expected 4"));
  const auto raw = [](const Bytes& bytes) {
    return message_of(ErrorKind::input, [&] { SafetensorsReader reader(bytes.all, "m"); });
  };
  CHECK(holds(raw(Bytes().text("abc")), "truncated"));
  CHECK(holds(raw(Bytes().put(std::uint64_t{100}).text("{}")), "header needs 100 bytes, 2 left"));
  CHECK(holds(raw(Bytes().put(~std::uint64_t{0}).text("{}")), "expected at most 100000000"));
}

TEST_CASE("safetensors: any damaged byte gives an error or a file that can be used") {
  std::size_t valid = 0, refused = 0;
  for_each_mutation(file_of(kTwo, 38), [&](std::span<const std::byte> bytes) {
    try {
      const SafetensorsReader reader(bytes, "damaged");
      std::size_t sum = 0;
      for (std::size_t i = 0; i < reader.tensors().size(); ++i)
        for (const std::byte b : reader.raw_data(i)) sum += std::to_integer<std::size_t>(b);
      valid += sum < SIZE_MAX;
    } catch (const Error&) {
      ++refused;
    }
  });
  CHECK(valid > 100);
  CHECK(refused > 500);
}

TEST_CASE("model folders: shards in order, checked against the index") {
  const TempDir dir;
  const auto shard = [&](const char* file, const std::string& tensor) {
    dir.write(file, file_of("{" + entry(tensor, "F32", "[2]", "[0,8]") + "}", 8));
  };
  shard("model-00001-of-00002.safetensors", "z");
  shard("model-00002-of-00002.safetensors", "a");
  dir.write("config.json", "{}");
  const HfDirectory model(dir.path());
  REQUIRE(model.tensors().size() == 2);
  CHECK(model.tensors()[0].name == "z");
  CHECK(model.file_of(1) == dir / "model-00002-of-00002.safetensors");
  CHECK(model.files().size() == 2);
  CHECK(model.data(model.find("a").value()).size() == 8);
  model.release(0);
  CHECK(model.file("config.json") == dir / "config.json");
  CHECK(!model.find_file("tokenizer.json"));
  CHECK(holds(message_of(ErrorKind::file, [&] { model.file("tokenizer.json"); }),
              "tokenizer.json: is missing"));
  CHECK(open_source(dir.path())->format() == "safetensors");
  CHECK(open_source(dir / "model-00001-of-00002.safetensors")->tensors().size() == 1);

  const auto with_index = [&](std::string_view index) {
    dir.write("model.safetensors.index.json", index);
    return message_of(ErrorKind::input, [&] { HfDirectory folder(dir.path()); });
  };
  CHECK(with_index(R"({"weight_map": {"a": "x", "z": "y"}})") == "");
  CHECK(holds(with_index(R"({"weight_map": {"a": "x"}})"), "'z' is not listed in"));
  CHECK(holds(with_index(R"({"weight_map": {"a": "x", "b": "model-3.safetensors", "z": "y"}})"),
              "'b' is missing; the index says that 'model-3.safetensors' holds it, and that file "
              "is missing too"));
  CHECK(holds(with_index(R"({"weight_map": {"a": 1, "z": "y"}})"), "is not a file name"));
  CHECK(holds(with_index(R"({"weight_map": []})"), "no object weight_map"));
  CHECK(holds(with_index("[]"), "no object weight_map"));
  CHECK(holds(with_index("{"), "invalid JSON"));
  std::filesystem::remove(dir / "model.safetensors.index.json");
  shard("model-00002-of-00002.safetensors", "z");
  CHECK(holds(message_of(ErrorKind::input, [&] { HfDirectory folder(dir.path()); }),
              "tensor 'z' appears twice"));
}

TEST_CASE("model folders: what cannot be read says what to do") {
  const auto message_with = [](const char* file) {
    const TempDir dir;
    if (*file) dir.write(file, "x");
    return message_of(ErrorKind::unsupported, [&] { open_source(dir.path()); });
  };
  CHECK(holds(message_with("pytorch_model-00001-of-00002.bin"), "save the model with safetensors"));
  CHECK(holds(message_with("model.gguf"), "give the file itself, 'model.gguf'"));
  CHECK(holds(message_with("adapter_model.safetensors"), "adapter"));
  CHECK(holds(message_with(""), "expected model*.safetensors"));
  CHECK(holds(message_with("config.json"), "expected model*.safetensors"));
  const TempDir dir;
  dir.write("consolidated.safetensors", file_of(one("F32", "[2]", "[0,8]"), 8));
  CHECK(HfDirectory(dir.path()).tensors().size() == 1);
}
