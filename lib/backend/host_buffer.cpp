#include "lib/backend/host_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/error.h"

namespace lq {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

class HostBuffer final : public Buffer {
 public:
  HostBuffer(std::size_t n_bytes, Pages pages) : size_(n_bytes) {
    // The system would grant more than there is and end the process when it is used.
    const std::size_t installed = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
                                  static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
    const bool huge = pages == Pages::large && n_bytes >= kHugePage;
    if (n_bytes < installed) {
      mapped_ = n_bytes + (huge ? kHugePage : 64);
      memory_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (memory_ == MAP_FAILED)
      fail(ErrorKind::resource, "out of memory: ", n_bytes, " bytes wanted, ", installed,
           " bytes installed");
    const auto address = reinterpret_cast<std::uintptr_t>(memory_);
    const std::size_t alignment = huge ? kHugePage : 64;
    data_ = static_cast<std::byte*>(memory_) + (alignment - address % alignment) % alignment;
    // Advice only: a system without such pages gives ordinary ones.
    // Whole ones alone, so that the last is not given for a few bytes.
    if (huge) madvise(data_, n_bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  }
  ~HostBuffer() override { munmap(memory_, mapped_); }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;

  std::byte* data() override { return data_; }
  std::size_t size() const override { return size_; }

 private:
  void* memory_ = MAP_FAILED;
  std::size_t mapped_ = 0;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace

std::unique_ptr<Buffer> make_host_buffer(std::size_t n_bytes, Pages pages) {
  return std::make_unique<HostBuffer>(n_bytes, pages);
}

}  // namespace lq
