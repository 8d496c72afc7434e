// A rank's two ends of the pipeline: hidden rows come from the same shard of the stage before and
// go to the same shard of the stage after, and both while the rank computes. There are two buffers:
// the rows of one step are worked on in place in one of them while those of the next come into the
// other, or those of the last leave it. A rank waits only for rows that have not come, or for a
// buffer whose rows nobody has taken.
//
// In front of the rows travels a header. It carries the times of the stages so far; and when a
// stage fails, its reason instead of rows. Failures so reach the leader in the order of the steps,
// by the way that the step takes anyway, and once.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"
#include "runtime/step/step_plan.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

struct StageLinkOptions {
  int before = -1;  // world rank; -1: this is the first stage
  int after = -1;   // world rank; -1: the last
  Shape buffers;    // StepScratch::handed
  int64_t hidden = 0;
};

class StageLink {
 public:
  // `world` outlives this.
  StageLink(Communicator& world, const StageLinkOptions& options);
  StageLink(const StageLink&) = delete;
  StageLink& operator=(const StageLink&) = delete;

  // Makes `rows` rows of `step` the current ones: waits until they have come (or, on the first
  // stage, until there is a buffer for them). All rows of the buffer, of which the first are the
  // step's. The error of an earlier stage comes as FailedEarlier does.
  absl::StatusOr<TensorView> Take(uint64_t step, int64_t rows, Deadline deadline);
  // Begins to receive the next step's rows, if there is a buffer for them by now.
  absl::Status Expect(int64_t rows);
  // Sends the current rows on, or the reason why there are none. Returns at once.
  absl::Status HandOn();
  absl::Status HandOnFailure(const absl::Status& error);
  // Until the stage after has taken everything.
  absl::Status Finish(Deadline deadline);

  // Of the stages up to this one, for HandOn to send and the last stage to report.
  void AddTime(const StageTime& time);
  std::span<const StageTime> times() const;
  // Whether Take failed because a stage before did.
  bool failed_before() const { return failed_before_; }

 private:
  // Stages beyond these report no times.
  static constexpr size_t kMaxTimes = 32;
  static constexpr size_t kReasonBytes = 232;

  struct Header {
    uint64_t step = 0;
    int32_t code = 0;  // absl::StatusCode of a failure
    uint32_t num_times = 0;
    uint64_t unused = 0;
    std::array<StageTime, kMaxTimes> times{};
    std::array<char, kReasonBytes> reason{};
  };
  struct Buffer {
    std::span<std::byte> bytes;  // header and rows
    Posted in;
    Posted out;
  };

  std::span<std::byte> Used(const Buffer& buffer, int64_t rows) const;
  absl::Status Receive(Buffer& buffer, int64_t rows);
  absl::Status Send();
  Buffer& current() { return buffers_[turn_ % buffers_.size()]; }
  Buffer& next() { return buffers_[(turn_ + 1) % buffers_.size()]; }

  Communicator& world_;
  const StageLinkOptions options_;
  Tensor memory_;
  std::array<Buffer, 2> buffers_;
  size_t turn_ = 0;  // rises by one with Take
  int64_t rows_ = 0;
  bool failed_before_ = false;
  Header header_;  // of the current rows
};

}  // namespace trireme
