// Quantized folders that are wrong: one line that names file and tensor, whatever is wrong.
#include <doctest/doctest.h>

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/format/hf_directory.h"
#include "lib/io/text_file.h"
#include "lib/jobs/convert_folder.h"
#include "lib/jobs/quantized_folder.h"
#include "tests/support/errors.h"
#include "tests/support/places.h"
#include "tests/support/quantized_checkpoint.h"
#include "tests/support/toys.h"

namespace lq {
namespace {

namespace fs = std::filesystem;
using test::CheckpointCopy;
using test::holds;
using test::TempDir;

using FolderDamage = std::function<void(const CheckpointCopy&)>;

constexpr const char* kModule = "model.layers.0.mlp.up_proj.";

std::string of_module(const char* suffix) { return std::string(kModule) + suffix; }

FolderDamage config(std::function<void(Json&)> edit) {
  return [edit](const CheckpointCopy& copy) {
    copy.change("config.json", [&](Json& c) { edit(c["quantization_config"]); });
  };
}
FolderDamage weights(std::function<void(Json&)> edit) {
  return config([edit](Json& c) { edit(c["config_groups"]["group_0"]["weights"]); });
}
FolderDamage header(std::function<void(Json&)> edit) {
  return [edit](const CheckpointCopy& copy) { copy.change_tensors(edit); };
}
FolderDamage renamed(const char* suffix) {
  return header([suffix](Json& t) {
    t["x"] = t[of_module(suffix)];
    t.erase(of_module(suffix));
  });
}
FolderDamage shaped(const char* suffix, Json shape) {
  return header([suffix, shape](Json& t) { t[of_module(suffix)]["shape"] = shape; });
}
template <class T>
FolderDamage written(const char* suffix, std::size_t index, T value) {
  return [=](const CheckpointCopy& copy) {
    std::byte bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    copy.overwrite(of_module(suffix), index * sizeof value, bytes);
  };
}
FolderDamage state(const char* from, const char* to) {
  return [=](const CheckpointCopy& copy) {
    REQUIRE(std::strlen(from) == std::strlen(to));
    auto content = read_text(copy / "model.safetensors");
    for (auto at = content.find(from); at != content.npos; at = content.find(from, at + 1))
      content.replace(at, std::strlen(from), to);
    write_text(copy / "model.safetensors", content, Existing::replace);
  };
}

constexpr auto kInvalid = ErrorKind::input, kNotKnown = ErrorKind::unsupported;
constexpr std::uint16_t kHalfNan = 0x7e00, kBrainInfinity = 0x7f80;

struct DamagedFolder {
  const char* of;
  const char* what;
  FolderDamage damage;
  ErrorKind kind;
  std::vector<const char*> said;
};

const std::vector<DamagedFolder> kDamagedConfigs = {
    {"w4-32",
     "method",
     config([](Json& c) { c["quant_method"] = "hqq"; }),
     kNotKnown,
     {"'hqq'", "gptq"}},
    {"w4-32",
     "no method",
     config([](Json& c) { c.erase("quant_method"); }),
     kNotKnown,
     {"quant_method"}},
    {"w4-32",
     "method is a number",
     config([](Json& c) { c["quant_method"] = 4; }),
     kInvalid,
     {"quant_method is '4'"}},
    {"w4-32",
     "config is a list",
     config([](Json& c) { c = Json::array(); }),
     kInvalid,
     {"quantization_config"}},
    {"w4-32",
     "format",
     config([](Json& c) { c["config_groups"]["group_0"]["format"] = "marlin-24"; }),
     kNotKnown,
     {"marlin-24", "pack-quantized"}},
    {"w4-32",
     "no groups",
     config([](Json& c) { c.erase("config_groups"); }),
     kInvalid,
     {"config_groups"}},
    {"w4-32",
     "nothing targeted",
     config([](Json& c) { c["config_groups"]["group_0"]["targets"] = {"Embedding"}; }),
     kInvalid,
     {"down_proj", "says that it is not"}},
    {"w4-32",
     "ignored",
     config([](Json& c) { c["ignore"] = {"re:.*up_proj"}; }),
     kInvalid,
     {"up_proj", "says that it is not"}},
    {"w4-32",
     "bad pattern",
     config([](Json& c) { c["ignore"] = {"re:(((("}; }),
     kInvalid,
     {"'(((('", "regular"}},
    {"w4-32",
     "slow pattern",
     config([](Json& c) { c["ignore"] = {"re:(([a-z0-9._]*)*)*$^"}; }),
     kInvalid,
     {"too much work"}},
    {"w4-32",
     "target is a number",
     config([](Json& c) { c["ignore"] = {7}; }),
     kInvalid,
     {"ignore"}},
    {"w4-32",
     "5 bits",
     weights([](Json& w) { w["num_bits"] = 5; }),
     kInvalid,
     {"weight_shape", "5 bits"}},
    {"w4-32", "9 bits", weights([](Json& w) { w["num_bits"] = 9; }), kNotKnown, {"9 bits"}},
    {"w4-32",
     "negative bits",
     weights([](Json& w) { w["num_bits"] = -4; }),
     kInvalid,
     {"num_bits", "-4"}},
    {"w4-32",
     "huge group",
     weights([](Json& w) { w["group_size"] = 1e18; }),
     kInvalid,
     {"group_size"}},
    {"w4-32",
     "group does not divide",
     weights([](Json& w) { w["group_size"] = 40; }),
     kInvalid,
     {"whole groups of 40"}},
    {"w4-32",
     "another group",
     weights([](Json& w) { w["group_size"] = 16; }),
     kInvalid,
     {"weight_scale", "[64, 6]"}},
    {"w4-32",
     "group of 0",
     weights([](Json& w) { w["group_size"] = 0; }),
     kInvalid,
     {"group_size is 0"}},
    {"w4-32",
     "strategy",
     weights([](Json& w) { w["strategy"] = "token"; }),
     kNotKnown,
     {"'token'"}},
    {"w4-32",
     "asymmetric",
     weights([](Json& w) { w["symmetric"] = false; }),
     kInvalid,
     {"weight_zero_point", "missing"}},
    {"w4a-32",
     "symmetric",
     weights([](Json& w) { w["symmetric"] = true; }),
     kInvalid,
     {"weight_zero_point", "is there"}},
    {"w4-32", "float", weights([](Json& w) { w["type"] = "float"; }), kNotKnown, {"'float'"}},
    {"nvfp4",
     "asymmetric",
     weights([](Json& w) { w["symmetric"] = false; }),
     kNotKnown,
     {"zero points"}},
    {"nvfp4",
     "group of 32",
     weights([](Json& w) { w["group_size"] = 32; }),
     kNotKnown,
     {"groups of 16"}},
    {"fp8block",
     "block of 0",
     weights([](Json& w) {
       w["block_structure"] = {128, 0};
     }),
     kInvalid,
     {"block_structure"}},
    {"fp8block",
     "no block",
     weights([](Json& w) { w.erase("block_structure"); }),
     kInvalid,
     {"block_structure is missing"}},
    {"fp8inv",
     "block of three",
     config([](Json& c) {
       c["weight_block_size"] = {1, 2, 3};
     }),
     kInvalid,
     {"weight_block_size"}},
    {"fp8inv",
     "other block",
     config([](Json& c) {
       c["weight_block_size"] = {64, 64};
     }),
     kInvalid,
     {"weight_scale_inv", "expected"}},
    {"fp8inv", "e5m2", config([](Json& c) { c["fmt"] = "e5m2"; }), kInvalid, {"F8_E5M2"}},
    {"fp8inv", "e6m1", config([](Json& c) { c["fmt"] = "e6m1"; }), kNotKnown, {"e6m1", "e5m2"}},
    {"fp8inv",
     "activation scheme",
     config([](Json& c) { c["activation_scheme"] = "x"; }),
     kNotKnown,
     {"activation_scheme"}},
    {"gptq-W4A16", "5 bits", config([](Json& c) { c["bits"] = 5; }), kNotKnown, {"bits is 5"}},
    {"gptq-W4A16",
     "8 bits",
     config([](Json& c) { c["bits"] = 8; }),
     kInvalid,
     {"qweight", "expected"}},
    {"gptq-W4A16",
     "no bits",
     config([](Json& c) { c.erase("bits"); }),
     kInvalid,
     {"bits is missing"}},
    {"gptq-W4A16",
     "marlin",
     config([](Json& c) { c["checkpoint_format"] = "marlin"; }),
     kNotKnown,
     {"marlin", "gptq_v2"}},
    {"gptq-W4A16",
     "rules",
     config([](Json& c) {
       c["dynamic"] = {{"up", 5}};
     }),
     kInvalid,
     {"dynamic"}},
    {"gptq-W4A16",
     "rules differ",
     config([](Json& c) {
       c["dynamic"] = {{".*up", {{"bits", 8}}}, {"model", {{"bits", 4}}}};
     }),
     kNotKnown,
     {"several rules match"}},
    {"gptq-W4A16",
     "left out",
     config([](Json& c) {
       c["dynamic"] = {{"-:.*up_proj", Json::object()}};
     }),
     kInvalid,
     {"up_proj", "says that it is not"}},
    {"awq", "3 bits", config([](Json& c) { c["bits"] = 3; }), kNotKnown, {"bits is 3"}},
    {"awq", "gemv", config([](Json& c) { c["version"] = "gemv"; }), kNotKnown, {"gemv"}},
    {"awq", "group of 16", config([](Json& c) { c["group_size"] = 16; }), kInvalid, {"qzeros"}},
    {"nf4", "both", config([](Json& c) { c["load_in_8bit"] = true; }), kInvalid, {"load_in_8bit"}},
    {"modelopt",
     "algorithm",
     [](const CheckpointCopy& copy) {
       copy.change("hf_quant_config.json",
                   [](Json& c) { c["quantization"]["quant_algo"] = "W4A8_AWQ"; });
     },
     kNotKnown,
     {"W4A8_AWQ", "NVFP4"}},
};

const std::vector<DamagedFolder> kDamagedTensors = {
    {"w4-32",
     "missing scale",
     renamed("weight_scale"),
     kInvalid,
     {"up_proj.weight_scale'", "missing"}},
    {"w4-32",
     "missing words",
     renamed("weight_packed"),
     kInvalid,
     {"up_proj.weight_packed'", "missing"}},
    {"w4-32",
     "missing shape",
     renamed("weight_shape"),
     kInvalid,
     {"up_proj.weight_shape'", "missing"}},
    {"w4-32",
     "storage of words",
     header([](Json& t) { t[of_module("weight_packed")]["dtype"] = "F32"; }),
     kInvalid,
     {"weight_packed", "stored as F32"}},
    {"w4-32",
     "storage of scales",
     header([](Json& t) { t[of_module("weight_scale")]["dtype"] = "I16"; }),
     kInvalid,
     {"weight_scale", "stored as I16"}},
    {"w4-32", "shape of words", shaped("weight_packed", {192, 4}), kInvalid, {"weight_shape"}},
    {"w4-32",
     "stack of words",
     shaped("weight_packed", {2, 48, 8}),
     kInvalid,
     {"weight_packed", "3 dimensions"}},
    {"w4-32",
     "shape of scales",
     shaped("weight_scale", {2, 96}),
     kInvalid,
     {"weight_scale", "[2, 96]", "[96, 2]"}},
    {"w4-32",
     "negative rows",
     written("weight_shape", 0, std::int64_t{-96}),
     kInvalid,
     {"weight_shape", "-96"}},
    {"w4-32",
     "huge columns",
     written("weight_shape", 1, std::int64_t{1} << 62),
     kInvalid,
     {"weight_shape"}},
    {"w4-32",
     "infinite scale",
     written("weight_scale", 5, kBrainInfinity),
     kInvalid,
     {"weight_scale", "row 2", "inf"}},
    {"w4a-32",
     "shape of zeros",
     shaped("weight_zero_point", {2, 12}),
     kInvalid,
     {"weight_zero_point", "[12, 2]"}},
    {"w8a8", "missing scale", renamed("weight_scale"), kInvalid, {"up_proj.weight'", "I8"}},
    {"w8a8",
     "infinite scale",
     written("weight_scale", 7, kBrainInfinity),
     kInvalid,
     {"weight_scale", "row 7"}},
    {"fp8",
     "no number",
     written("weight", 65, std::uint8_t{0xff}),
     kInvalid,
     {"up_proj.weight'", "row 1, column 1"}},
    {"fp8", "missing scale", renamed("weight_scale"), kInvalid, {"up_proj.weight'", "F8_E4M3"}},
    {"fp8block",
     "infinite scale",
     written("weight_scale", 0, kBrainInfinity),
     kInvalid,
     {"weight_scale", "inf"}},
    {"fp8inv",
     "missing scale",
     renamed("weight_scale_inv"),
     kInvalid,
     {"up_proj.weight'", "F8_E4M3"}},
    {"nvfp4",
     "divisor of 0",
     written("weight_global_scale", 0, 0.0f),
     kInvalid,
     {"weight_global_scale", "above 0"}},
    {"nvfp4",
     "divisor is no number",
     written("weight_global_scale", 0, std::bit_cast<float>(0x7fc00000)),
     kInvalid,
     {"weight_global_scale", "nan"}},
    {"nvfp4",
     "scale below 0",
     written("weight_scale", 3, std::uint8_t{0xb8}),
     kInvalid,
     {"weight_scale", "below 0"}},
    {"nvfp4",
     "scale is no number",
     written("weight_scale", 3, std::uint8_t{0x7f}),
     kInvalid,
     {"weight_scale", "not a number"}},
    {"mxfp4",
     "exponent",
     written("weight_scale", 1, std::uint8_t{255}),
     kInvalid,
     {"weight_scale", "value 1"}},
    {"mxfp8",
     "exponent",
     written("weight_scale", 1, std::uint8_t{255}),
     kInvalid,
     {"weight_scale", "value 1"}},
    {"gptq-W4A16",
     "group out of range",
     written("g_idx", 9, std::int32_t{2}),
     kInvalid,
     {"g_idx", "column 9", "group 2"}},
    {"gptq-W4A16",
     "group below 0",
     written("g_idx", 9, std::int32_t{-1}),
     kInvalid,
     {"g_idx", "group -1"}},
    {"gptq-W4A16",
     "scale is no number",
     written("scales", 0, kHalfNan),
     kInvalid,
     {"scales", "nan"}},
    {"gptq-W4A16", "missing zeros", renamed("qzeros"), kInvalid, {"qzeros", "missing"}},
    {"gptq-W8A16",
     "zero of symmetric integers",
     written("qzeros", 0, std::uint32_t{0x7f7f7f70}),
     kInvalid,
     {"qzeros", "113", "sym"}},
    {"awq", "missing scales", renamed("scales"), kInvalid, {"scales", "missing"}},
    {"modelopt",
     "shape of scales",
     shaped("weight_scale", {2, 96}),
     kInvalid,
     {"weight_scale", "expected [96, 2]"}},
    {"nf4",
     "broken state",
     state("\"blocksize\": 64", "\"blocksize\": 6,"),
     kInvalid,
     {"quant_state", "line 1"}},
    {"nf4",
     "block of 0",
     state("\"blocksize\": 64", "\"blocksize\":  0"),
     kInvalid,
     {"quant_state", "blocksize"}},
    {"nf4",
     "other rows",
     state("\"shape\": [96, 64]", "\"shape\": [95, 64]"),
     kInvalid,
     {"weight", "[95, 64]"}},
    {"nf4",
     "negative rows",
     state("\"shape\": [96, 64]", "\"shape\": [-6, 64]"),
     kInvalid,
     {"quant_state", "shape"}},
    {"nf4",
     "other type",
     state("{\"quant_type\": \"nf4\"", "{\"quant_type\": \"fp4\""),
     kInvalid,
     {"quant_state", "fp4"}},
    {"nf4", "missing table", renamed("weight.quant_map"), kInvalid, {"quant_map", "missing"}},
    {"nf4",
     "infinite scale",
     written("weight.absmax", 2, std::bit_cast<float>(0x7f800000)),
     kInvalid,
     {"absmax", "inf"}},
    {"nf4d",
     "missing scales of scales",
     renamed("weight.nested_absmax"),
     kInvalid,
     {"nested_absmax", "missing"}},
    {"int8", "missing scales", renamed("SCB"), kInvalid, {"up_proj"}},
    {"int8",
     "format of rows",
     written("weight_format", 0, std::uint8_t{1}),
     kNotKnown,
     {"weight_format"}},
};

std::optional<Error> reading_error(const fs::path& path) {
  return test::error_of([&] {
    const HfFolder folder(path);
    const auto schemes = read_stored_schemes(folder);
    REQUIRE(schemes);
    const QuantizedFolder read(std::make_unique<HfDirectory>(path), *schemes, Nvfp4As::gguf);
    for (std::size_t i = 0; i < read.tensors().size(); ++i)
      if (read.matrix(i)) read.data(i);
  });
}

void check_folders_refused(const std::vector<DamagedFolder>& cases) {
  const TempDir made;
  for (const DamagedFolder& one : cases) {
    CAPTURE(std::string(one.of) + ": " + one.what);
    const fs::path whole = made / one.of;
    if (!fs::exists(whole))
      test::write_quantized(test::checkpoint("mistral"), test::quantized_case(one.of), whole);
    const CheckpointCopy copy(whole.string());
    CHECK(!reading_error(copy.path()));
    one.damage(copy);
    const auto error = reading_error(copy.path());
    REQUIRE(error);
    const std::string text = error->what();
    CAPTURE(text);
    CHECK(error->kind() == one.kind);
    CHECK(holds(text, copy.path().string()));
    CHECK(text.find('\n') == text.npos);
    for (const char* part : one.said) CHECK_MESSAGE(holds(text, part), part);
  }
}

}  // namespace

TEST_CASE("quantized folders with wrong configurations are refused") {
  check_folders_refused(kDamagedConfigs);
}
TEST_CASE("quantized folders with wrong tensors are refused") {
  check_folders_refused(kDamagedTensors);
}

}  // namespace lq
