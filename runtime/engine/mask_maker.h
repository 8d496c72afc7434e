// Makes the masks of a step's grammars while the step's layers run: a thread of its own (`masks`)
// begins at once, and whoever comes to wait for them helps. A mask takes tens of microseconds with
// 200,000 tokens, so those of 64 sequences would hold up a step by milliseconds.
#pragma once

#include <cstdint>
#include <span>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "runtime/base/mutex.h"
#include "runtime/sampling/grammar/grammar_state.h"

namespace trireme {

class MaskMaker {
 public:
  MaskMaker() = default;
  MaskMaker(const MaskMaker&) = delete;
  MaskMaker& operator=(const MaskMaker&) = delete;
  ~MaskMaker();

  // masks: [grammars, words], to be written. Neither may be touched until Wait has returned, which
  // is to be called before the next Start. The thread is made with the first one.
  void Start(std::span<GrammarState* const> grammars, std::span<uint32_t> masks)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Until all are made; at once where none are due.
  void Wait() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  // Makes one that nobody has begun. False where there is none.
  bool MakeOne() ABSL_LOCKS_EXCLUDED(mutex_);

  Mutex mutex_;
  CondVar changed_;  // something to make, something made, or stopping_
  std::span<GrammarState* const> grammars_ ABSL_GUARDED_BY(mutex_);
  std::span<uint32_t> masks_ ABSL_GUARDED_BY(mutex_);
  size_t begun_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t made_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace trireme
