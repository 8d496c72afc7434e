#include "launcher/load/slow_readers.h"

namespace trireme {

std::shared_ptr<SlowReaders::Write> SlowReaders::Watch(std::function<void()> cut_off) {
  auto write = std::make_shared<Write>(std::move(cut_off));
  MutexLock lock(mutex_);
  writes_.push_back(write);
  return write;
}

int SlowReaders::Check(int64_t now_ns) {
  std::vector<std::shared_ptr<Write>> late;
  {
    MutexLock lock(mutex_);
    std::erase_if(writes_, [&](const std::weak_ptr<Write>& weak) {
      const std::shared_ptr<Write> write = weak.lock();
      if (write == nullptr) return true;
      const int64_t began_ns = write->began_ns_;
      if (began_ns == 0 || now_ns - began_ns < patience_.count()) return false;
      late.push_back(write);
      return true;
    });
  }
  for (const auto& write : late) write->cut_off_();
  return static_cast<int>(late.size());
}

}  // namespace trireme
