#pragma once
// What a template computes with: Python's values as far as a sandboxed template can tell.
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/text/chat_template.h"

namespace lq::jinja {

/// Containers nest at most this deep, so that walking and freeing them needs little stack.
constexpr int kMaxValueDepth = 500;

/// Something that values share. It knows how deep the containers in it nest.
struct Object {
  int depth = 0;
  virtual ~Object() = default;
};
struct Text final : Object {
  std::string text;  ///< UTF-8
};
struct Sequence;
struct Dict;
struct Namespace;
struct Callable;
struct Loop;

enum class Kind : std::uint8_t {
  undefined,  ///< holds the message of the error that its use gives
  none,
  boolean,
  integer,
  number,
  text,
  sequence,
  dict,
  name_space,
  callable,
  loop,
};

class Value {
 public:
  Value() = default;  ///< undefined
  static Value none() { return Value(Kind::none); }
  static Value undefined(std::string hint) { return Value(Kind::undefined, make_text(hint)); }
  static Value of(bool value);
  static Value of(std::int64_t value);
  static Value of(double value);
  static Value of(std::string text, bool safe = false);
  static Value of(const char* text) { return of(std::string(text)); }
  static Value of(std::shared_ptr<const Sequence> sequence);
  static Value of(std::shared_ptr<const Dict> dict);
  static Value of(std::shared_ptr<const Namespace> space);
  static Value of(std::shared_ptr<const Callable> callable);
  static Value of(std::shared_ptr<const Loop> loop);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const { return is(Kind::boolean) || is(Kind::integer) || is(Kind::number); }
  bool is_integral() const { return is(Kind::boolean) || is(Kind::integer); }
  bool is_sequence() const { return is(Kind::sequence); }
  /// Text that `safe` marked: plain text that meets it is escaped.
  bool is_safe() const { return safe_; }
  int depth() const { return object_ ? object_->depth : 0; }
  const Object* identity() const { return object_.get(); }

  /// Each requires the kind that it names.
  bool boolean() const { return integer_ != 0; }
  std::int64_t integer() const { return integer_; }  ///< or a boolean
  double number() const;                             ///< of any number
  const std::string& text() const { return as<Text>().text; }
  const std::string& hint() const;  ///< of an undefined
  const Sequence& sequence() const { return as<Sequence>(); }
  const Dict& dict() const { return as<Dict>(); }
  const Namespace& name_space() const { return as<Namespace>(); }
  const Callable& callable() const { return as<Callable>(); }
  const Loop& loop() const { return as<Loop>(); }

 private:
  explicit Value(Kind kind, std::shared_ptr<const Object> object = nullptr)
      : kind_(kind), object_(std::move(object)) {}
  static std::shared_ptr<const Object> make_text(std::string text);
  template <class T>
  const T& as() const {
    return static_cast<const T&>(*object_);
  }

  Kind kind_ = Kind::undefined;
  bool safe_ = false;
  union {
    std::int64_t integer_ = 0;
    double number_;
  };
  std::shared_ptr<const Object> object_;
};

using Values = std::vector<Value>;

enum class Style : std::uint8_t { list, tuple, range, view, generator };

struct Sequence final : Object {
  Style style = Style::list;
  Values items;
  std::string label;              ///< how a range, view or generator prints
  mutable std::size_t taken = 0;  ///< of a generator: items already read
};

/// Keys in the order of insertion; looked up one by one, for they are few.
struct Dict final : Object {
  std::vector<std::pair<Value, Value>> members;
};

/// The only thing a template can change.
struct Namespace final : Object {
  mutable std::vector<std::pair<std::string, Value>> members;
};

class Runtime;
struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct Callable final : Object {
  std::string name;
  std::function<Value(Runtime&, const Arguments&)> call;
};

/// The variable `loop`.
struct Loop final : Object {
  Values items;
  std::size_t index = 0;
  int level = 0;                             ///< 0 for the outermost of a recursive loop
  Values changed;                            ///< the arguments of the last loop.changed()
  bool asked_changed = false;                ///< whether there was one
  std::function<Value(const Value&)> again;  ///< of a recursive loop: its body over other items
};

/// What one rendering may still spend, and where it is.
class Runtime {
 public:
  Runtime(std::string name, const TemplateLimits& limits, std::chrono::system_clock::time_point now)
      : name_(std::move(name)), limits_(limits), now_(now) {}
  ~Runtime();
  Runtime(const Runtime&) = delete;

  /// Ends rendering: Error(input) "name:line: parts".
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(ErrorKind::input, name_, ":", line, ": ", parts...);
  }
  void step(std::uint64_t n = 1) {
    steps_ += n;
    if (steps_ > limits_.steps || n > limits_.steps)
      refuse("the template takes more than ", limits_.steps, " steps");
  }
  /// Call before `bytes` of text are made: they cost steps, so all memory together is bounded.
  void reserve(std::size_t bytes);
  void reserve(std::size_t count, std::size_t bytes_each);
  void check_depth() const {
    if (depth > limits_.depth)
      refuse("calls and expressions are nested more than ", limits_.depth, " deep");
  }
  const TemplateLimits& limits() const { return limits_; }
  std::chrono::system_clock::time_point now() const { return now_; }

  Value list(Values items, Style style = Style::list, std::string label = "");
  Value dict(std::vector<std::pair<Value, Value>> members);
  Value function(std::string name, std::function<Value(Runtime&, const Arguments&)> call,
                 int inner = 0);
  Value new_namespace();

  int line = 1;   ///< of what is evaluated now
  int depth = 0;  ///< of evaluation

 private:
  template <class T>
  void set_depth(T& object, int inner) const;

  std::string name_;
  TemplateLimits limits_;
  std::chrono::system_clock::time_point now_;
  std::uint64_t steps_ = 0;
  std::vector<std::shared_ptr<Namespace>> spaces_;  ///< emptied at the end: they may form cycles
};

/// Python's view of values. Those that take a Runtime refuse what Python refuses.
bool truth(const Value& value);
std::string type_name(const Value& value);
bool equal(Runtime& runtime, const Value& a, const Value& b);
/// Negative, zero or positive.
int compare(Runtime& runtime, const Value& a, const Value& b);
bool contains(Runtime& runtime, const Value& container, const Value& item);
/// str(value): what printing shows.
std::string to_text(Runtime& runtime, const Value& value);
/// to_text, marked as safe if `value` is.
Value soft_text(Runtime& runtime, const Value& value);
std::string repr(Runtime& runtime, const Value& value);
std::string number_text(double value);
/// The items that a `for` sees.
Values items_of(Runtime& runtime, const Value& value);
std::size_t length_of(Runtime& runtime, const Value& value);
const Value* find(Runtime& runtime, const Dict& dict, const Value& key);
/// Of those with the same key the last one counts.
void put(Runtime& runtime, std::vector<std::pair<Value, Value>>& members, Value key, Value value);
/// container[key] and container.key of values; undefined when there is none.
Value item(Runtime& runtime, const Value& container, const Value& key);
Value attribute(Runtime& runtime, const Value& container, const std::string& name);
Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
            const Value& step);

/// An argument list laid out by parameter names; what was not given is undefined.
Values bind(Runtime& runtime, const std::string& function, const Arguments& arguments,
            std::initializer_list<const char*> names, std::size_t required);
std::int64_t integer_argument(Runtime& runtime, const Value& value, std::int64_t fallback);

}  // namespace lq::jinja
