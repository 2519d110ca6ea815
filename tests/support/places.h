#pragma once
// Where tests find what they read.
#include <string>

namespace lq::test {

/// The path of `name` in testdata/; "" gives the folder with a slash at its end.
std::string testdata(const std::string& name);

}  // namespace lq::test
