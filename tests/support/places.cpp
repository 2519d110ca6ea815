#include "tests/support/places.h"

namespace lq::test {

std::string testdata(const std::string& name) { return LQ_TESTDATA "/" + name; }

std::string faults_library() { return LQ_FAULTS; }

}  // namespace lq::test
