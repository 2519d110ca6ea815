#pragma once
// Where tests find what they read.
#include <map>
#include <string>

namespace lq::test {

/// The path of `name` in testdata/; "" gives the folder with a slash at its end.
std::string testdata(const std::string& name);

/// The library that lets calls of the system fail (faults.cpp), for LD_PRELOAD.
std::string faults_library();

/// Name to digest of a file as sha256sum writes it.
std::map<std::string, std::string> digests(const std::string& path);

}  // namespace lq::test
