// One request and the reply that is due: what a route's function is given. A reply is whole (Reply)
// or produced: in parts, later, as the tokens of a completion come (Produce).
//
// Threads: Reply and Wake from any thread. The producer's functions run on the connection's own
// thread of the moment, one at a time, and Write and Finish are for them alone.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "launcher/gateway/http/message.h"

namespace trireme {

struct Producer {
  // Writes what there is to write. Called after Wake, while nothing written is still unsent: a
  // reader that is slow is asked for less, and what it has not read piles up nowhere but where it
  // comes from.
  std::function<void()> pump;
  // The client is gone: nothing will be sent any more. At most once, and not after the reply's end.
  std::function<void()> gone;
  // How a reply in parts begins (its body is not used), should it come to one: with the first
  // Write, or with `idle_text` when nothing was sent for `idle_after`.
  HttpResponse head = {};
  std::string idle_text = {};  // "": silence is fine
  std::chrono::milliseconds idle_after{10'000};
};

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;

  // The first counts; the rest, and any after a reply in parts has begun, is ignored.
  virtual void Reply(HttpResponse response) = 0;

  // At most once. Holds on to the producer until the reply's end.
  virtual void Produce(Producer producer) = 0;
  virtual void Wake() = 0;

  // Whether a reply in parts has begun, so that Reply can say nothing any more.
  virtual bool streaming() const = 0;
  virtual void Write(std::string_view bytes) = 0;
  virtual void Finish() = 0;
};

}  // namespace trireme
