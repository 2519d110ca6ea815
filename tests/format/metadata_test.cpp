#include "lib/format/metadata.h"

#include <doctest/doctest.h>

#include <limits>

#include "lib/base/error.h"
#include "lib/format/tensor.h"
#include "tests/support/errors.h"

using namespace lq;
using test::holds;
using test::input_error;
using test::message_of;

namespace {
std::string keys(const Metadata& metadata) {
  std::string all;
  for (const auto& entry : metadata.entries()) all += entry.key + " ";
  return all;
}
}  // namespace

TEST_CASE("metadata keeps order; set replaces in place, move_to_end does not") {
  Metadata m("x.gguf");
  for (const char* key : {"a", "b", "c", "d"}) m.set(key, Value::of_u32(1));
  m.set("b", Value::of_u32(2));
  CHECK(keys(m) == "a b c d ");
  CHECK(m.integer("b", 0, 9) == 2);
  m.move_to_end("b", Value::of_u32(3));
  CHECK(keys(m) == "a c d b ");
  m.remove("c");
  m.remove("nosuch");
  CHECK(keys(m) == "a d b ");
  CHECK(m.integer("b", 0, 9) == 3);
  CHECK(m.integer("d", 0, 9) == 1);
  CHECK(!m.has("c"));
}

TEST_CASE("metadata: typed getters convert what is exact and name what is wrong") {
  Metadata m("x.gguf");
  m.set("n", Value::of_i32(-7));
  m.set("big", Value::of_u64(std::numeric_limits<std::uint64_t>::max()));
  m.set("f", Value::of_f32(0.1));
  m.set("yes", Value::of_bool(true));
  m.set("s", Value::of_string("text"));
  m.set("ss", Value::of_strings({"x", "y"}));
  m.set("is", Value::of_i32s({1, 2}));
  m.set("fs", Value::of_f32s({1, 2.5}));
  CHECK(m.integer("n", -10, 10) == -7);
  CHECK(m.number("n") == -7);
  CHECK(m.number("f") == static_cast<double>(0.1f));
  CHECK(m.find_bool("yes") == true);
  CHECK(m.string("s") == "text");
  CHECK(m.strings("ss").size() == 2);
  CHECK(m.view_strings("none") == nullptr);
  CHECK(m.find_integers("is") == std::vector<std::int64_t>{1, 2});
  CHECK(m.find_floats("fs") == std::vector<float>{1, 2.5});
  CHECK(!m.find_integer("none", 0, 1));
  CHECK(m.find("fs")->array_size() == 2);
  CHECK(m.find("s")->array_size() == 0);

  CHECK(input_error([&] { m.integer("n", 0, 10); }) == "x.gguf: key 'n' is -7; expected 0 to 10");
  CHECK(holds(input_error([&] { m.integer("big", 0, 10); }), "18446744073709551615"));
  CHECK(input_error([&] { m.integer("none", 0, 1); }) == "x.gguf: key 'none' is missing");
  CHECK(input_error([&] { m.integer("f", 0, 1); }) ==
        "x.gguf: key 'f' is of type f32; expected an integer");
  CHECK(holds(input_error([&] { m.strings("is"); }), "array of i32; expected an array of strings"));
  CHECK(holds(input_error([&] { m.string("n"); }), "expected a string"));
  CHECK(holds(input_error([&] { m.find_floats("is"); }), "expected an array of floats"));
  CHECK(holds(input_error([&] { m.find_bool("n"); }), "expected a boolean"));
  CHECK(holds(input_error([&] { m.find_string("n"); }), "expected a string"));
}

TEST_CASE("tensor info: sizes and shapes") {
  const TensorInfo tensor{"t", DType::Q8_0, {64, 3, 2}};
  CHECK(tensor.rows() == 6);
  CHECK(tensor.row_bytes() == 68);
  CHECK(tensor.bytes() == 408);
  CHECK(TensorInfo{"scalar", DType::F32, {}}.bytes() == 4);
  CHECK(shape_text(tensor.shape) == "[64, 3, 2]");
  CHECK(shape_text({}) == "[]");
  using Shape = std::vector<std::uint64_t>;
  CHECK(trimmed_shape(Shape{64, 1, 1}) == Shape{64});
  CHECK(trimmed_shape(Shape{1, 1}) == Shape{1});
  CHECK(trimmed_shape(Shape{1, 1, 5, 1}) == Shape{1, 1, 5});
  CHECK(trimmed_shape(Shape{}) == Shape{1});
}
