#include "runtime/engine/mask_maker.h"

#include <pthread.h>

#include "runtime/base/check.h"
#include "runtime/base/deadline.h"

namespace trireme {

MaskMaker::~MaskMaker() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void MaskMaker::Start(std::span<GrammarState* const> grammars, std::span<uint32_t> masks) {
  if (grammars.empty()) return;
  MutexLock lock(mutex_);
  TRI_CHECK_EQ(made_, grammars_.size()) << "masks are under way";
  grammars_ = grammars;
  masks_ = masks;
  begun_ = made_ = 0;
  if (!thread_.joinable()) {
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "masks");
      Run();
    });
  }
  changed_.NotifyAll();
}

void MaskMaker::Wait() {
  while (MakeOne()) {
  }
  // Those that the thread is at take microseconds.
  MutexLock lock(mutex_);
  while (made_ < grammars_.size()) changed_.WaitUntil(mutex_, Deadline::Never());
}

bool MaskMaker::MakeOne() {
  GrammarState* grammar = nullptr;
  std::span<uint32_t> mask;
  {
    MutexLock lock(mutex_);
    if (begun_ == grammars_.size()) return false;
    const size_t words = masks_.size() / grammars_.size();
    grammar = grammars_[begun_];
    mask = masks_.subspan(begun_ * words, words);
    ++begun_;
  }
  grammar->Mask(mask);
  MutexLock lock(mutex_);
  ++made_;
  changed_.NotifyAll();
  return true;
}

void MaskMaker::Run() {
  while (true) {
    if (MakeOne()) continue;
    MutexLock lock(mutex_);
    if (stopping_) return;
    if (begun_ == grammars_.size()) changed_.WaitUntil(mutex_, Deadline::Never());
  }
}

}  // namespace trireme
