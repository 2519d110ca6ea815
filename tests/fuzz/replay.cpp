// Feeds files to a fuzz target: replay FILE|FOLDER... Fails when there is nothing to feed.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;

void feed(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(in), {}};
  // A copy of exactly this size: the address sanitizer sees a read behind its end.
  const std::vector<std::uint8_t> bytes(content.begin(), content.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  int n_files = 0;
  for (int i = 1; i < argc; ++i) {
    std::vector<fs::path> files;
    if (fs::is_directory(argv[i]))
      for (const auto& entry : fs::recursive_directory_iterator(argv[i]))
        if (entry.is_regular_file()) files.push_back(entry.path());
    if (fs::is_regular_file(argv[i])) files.emplace_back(argv[i]);
    for (const auto& file : files) {
      std::fprintf(stderr, "%s\n", file.c_str());
      feed(file);
      ++n_files;
    }
  }
  std::printf("%d files\n", n_files);
  return n_files > 0 ? 0 : 1;
}
