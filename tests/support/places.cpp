#include "tests/support/places.h"

namespace lq::test {

std::string testdata(const std::string& name) { return LQ_TESTDATA "/" + name; }

}  // namespace lq::test
