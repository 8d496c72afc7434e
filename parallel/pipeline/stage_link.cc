#include "parallel/pipeline/stage_link.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"
#include "runtime/model/memory_plan.h"

namespace trireme {

StageLink::StageLink(Communicator& world, const StageLinkOptions& options)
    : world_(world), options_(options), memory_(DType::kF32, options.buffers) {
  static_assert(sizeof(Header) == kRowHeaderFloats * sizeof(float));
  TRI_CHECK_EQ(options.buffers[0], static_cast<int64_t>(buffers_.size()));
  const TensorView memory = memory_.view();
  for (size_t i = 0; i < buffers_.size(); ++i) {
    buffers_[i].bytes = {memory.row(static_cast<int64_t>(i)),
                         static_cast<size_t>(memory.columns()) * sizeof(float)};
  }
}

std::span<std::byte> StageLink::Used(const Buffer& buffer, int64_t rows) const {
  const auto floats = static_cast<size_t>(kRowHeaderFloats + rows * options_.hidden);
  return buffer.bytes.first(floats * sizeof(float));
}

absl::Status StageLink::Receive(Buffer& buffer, int64_t rows) {
  TRI_ASSIGN_OR_RETURN(buffer.in, world_.PostRecv(options_.before, Used(buffer, rows)));
  return absl::OkStatus();
}

absl::StatusOr<TensorView> StageLink::Take(uint64_t step, int64_t rows, Deadline deadline) {
  ++turn_;
  rows_ = rows;
  Buffer& buffer = current();
  if (buffer.in.kind == Posted::Kind::kNothing) {
    TRI_RETURN_IF_ERROR(
        world_.Finish(buffer.out, deadline, "hidden rows for the stage after to take"));
    if (options_.before >= 0) TRI_RETURN_IF_ERROR(Receive(buffer, rows));
  }
  header_ = Header{.step = step};
  if (options_.before >= 0) {
    TRI_RETURN_IF_ERROR(world_.Finish(buffer.in, deadline, "hidden rows from the stage before"));
    std::memcpy(&header_, buffer.bytes.data(), sizeof(Header));
    header_.num_times = std::min<uint32_t>(header_.num_times, kMaxTimes);
  }
  if (header_.code != 0) {
    failed_before_ = true;
    return absl::Status(
        static_cast<absl::StatusCode>(header_.code),
        std::string(header_.reason.data(), strnlen(header_.reason.data(), kReasonBytes)));
  }
  if (header_.step != step) {
    return absl::InternalError(absl::StrFormat(
        "rank %d on host %s handed on the rows of step %d where those of step %d were due",
        options_.before, world_.HostOf(options_.before), header_.step, step));
  }
  const auto rows_of_buffer = (options_.buffers[1] - kRowHeaderFloats) / options_.hidden;
  return TensorView(buffer.bytes.data() + sizeof(Header), DType::kF32,
                    Shape{rows_of_buffer, options_.hidden});
}

absl::Status StageLink::Expect(int64_t rows) {
  if (options_.before < 0 || next().in.kind != Posted::Kind::kNothing) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(const bool is_free, world_.Poll(next().out));
  return is_free ? Receive(next(), rows) : absl::OkStatus();
}

absl::Status StageLink::Send() {
  Buffer& buffer = current();
  std::memcpy(buffer.bytes.data(), &header_, sizeof(Header));
  TRI_ASSIGN_OR_RETURN(buffer.out, world_.PostSend(options_.after, Used(buffer, rows_)));
  return absl::OkStatus();
}

absl::Status StageLink::HandOn() { return Send(); }

absl::Status StageLink::HandOnFailure(const absl::Status& error) {
  if (options_.after < 0 || error.ok()) return absl::OkStatus();
  header_.code = static_cast<int32_t>(error.code());
  const auto reason = error.message();
  header_.reason.fill('\0');
  std::copy_n(reason.data(), std::min(reason.size(), kReasonBytes), header_.reason.data());
  return Send();
}

absl::Status StageLink::Finish(Deadline deadline) {
  for (size_t behind = 1; behind <= buffers_.size(); ++behind) {
    Posted& out = buffers_[(turn_ + behind) % buffers_.size()].out;
    TRI_RETURN_IF_ERROR(world_.Finish(out, deadline, "hidden rows for the stage after to take"));
  }
  return absl::OkStatus();
}

void StageLink::AddTime(const StageTime& time) {
  if (header_.num_times < kMaxTimes) header_.times[header_.num_times++] = time;
}

std::span<const StageTime> StageLink::times() const {
  return std::span(header_.times).first(header_.num_times);
}

}  // namespace trireme
