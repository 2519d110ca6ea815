#include "lib/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>

namespace lq {
namespace {

int cores_in_affinity_mask() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

/// Cores' worth of time that the control group of this process grants; a huge number without a
/// quota.
double cores_in_cgroup_quota() {
  constexpr double kNone = 1e9;
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) {
    try {
      return std::stod(quota) / period;
    } catch (const std::exception&) {
      return kNone;
    }
  }
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double microseconds = 0;
  if (v1_quota >> microseconds && v1_period >> period && microseconds > 0 && period > 0)
    return microseconds / period;
  return kNone;
}

}  // namespace

int available_threads() {
  const double quota = std::max(1.0, std::ceil(cores_in_cgroup_quota()));
  return static_cast<int>(std::min<double>(cores_in_affinity_mask(), quota));
}

Background::Background(std::function<void()> work)
    : work_(std::move(work)), thread_([this] { run(); }) {}

Background::~Background() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Background::wake() {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = true;
  }
  changed_.notify_one();
}

void Background::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return end_ || wanted_; });
    if (end_) return;
    wanted_ = false;
    lock.unlock();
    work_();
    lock.lock();
  }
}

}  // namespace lq
