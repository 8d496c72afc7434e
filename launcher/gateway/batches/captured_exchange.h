// An exchange whose reply stays in the program: a request that no connection brought. Whoever waits
// for it runs its producer.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "launcher/gateway/http/exchange.h"
#include "runtime/base/mutex.h"

namespace trireme {

class CapturedExchange final : public Exchange {
 public:
  explicit CapturedExchange(HttpRequest request) : request_(std::move(request)) {}

  const HttpRequest& request() const override { return request_; }
  void Reply(HttpResponse response) override {
    MutexLock lock(mutex_);
    if (!response_.has_value()) response_ = std::move(response);
    changed_.NotifyAll();
  }
  void Produce(Producer producer) override {
    MutexLock lock(mutex_);
    producer_ = std::move(producer);
    woken_ = true;
    changed_.NotifyAll();
  }
  void Wake() override {
    MutexLock lock(mutex_);
    woken_ = true;
    changed_.NotifyAll();
  }
  // Only whole replies are asked for.
  bool streaming() const override { return false; }
  void Write(std::string_view) override {}
  void Finish() override {}

  // The reply; nothing where `interrupted` (asked now and then) became true first.
  std::optional<HttpResponse> Wait(const std::function<bool()>& interrupted)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    while (true) {
      std::function<void()> pump;
      {
        MutexLock lock(mutex_);
        const Deadline look = Deadline::AfterMs(100);
        while (!response_.has_value() && !(woken_ && producer_.has_value())) {
          if (!changed_.WaitUntil(mutex_, look)) break;
        }
        if (response_.has_value()) {
          producer_.reset();
          return std::move(response_);
        }
        if (std::exchange(woken_, false) && producer_.has_value()) pump = producer_->pump;
      }
      if (pump) pump();
      if (interrupted()) return Leave();
    }
  }

 private:
  std::optional<HttpResponse> Leave() ABSL_LOCKS_EXCLUDED(mutex_) {
    std::optional<Producer> producer;
    {
      MutexLock lock(mutex_);
      producer = std::exchange(producer_, std::nullopt);
    }
    if (producer.has_value()) producer->gone();
    return std::nullopt;
  }

  const HttpRequest request_;
  Mutex mutex_;
  CondVar changed_;
  std::optional<HttpResponse> response_ ABSL_GUARDED_BY(mutex_);
  std::optional<Producer> producer_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace trireme
