#include "tests/support/places.h"

#include <sstream>

#include "tests/support/temp_dir.h"

namespace lq::test {

std::string testdata(const std::string& name) { return LQ_TESTDATA "/" + name; }

std::string faults_library() { return LQ_FAULTS; }

std::map<std::string, std::string> digests(const std::string& path) {
  std::map<std::string, std::string> result;
  std::istringstream lines(file_content(path));
  for (std::string digest, name; lines >> digest >> name;) result[name] = digest;
  return result;
}

}  // namespace lq::test
