// How the shards of a vocabulary tell each other what they found. The stage makes one over its
// collectives; the sampler needs no more of them than this.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"

namespace trireme {

class ShardExchange {
 public:
  virtual ~ShardExchange() = default;

  virtual int shard() const = 0;
  virtual int shards() const = 0;

  // all: every shard's words in shard order; each gives as many. On an error `all` is unspecified.
  // `what` names the exchange in messages.
  virtual absl::Status Gather(std::span<const uint64_t> mine, std::span<uint64_t> all,
                              std::string_view what) = 0;
};

// One shard that holds the whole vocabulary.
class SoloExchange final : public ShardExchange {
 public:
  int shard() const override { return 0; }
  int shards() const override { return 1; }
  absl::Status Gather(std::span<const uint64_t> mine, std::span<uint64_t> all,
                      std::string_view) override {
    std::copy(mine.begin(), mine.end(), all.begin());
    return absl::OkStatus();
  }
};

}  // namespace trireme
