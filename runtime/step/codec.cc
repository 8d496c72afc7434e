#include "runtime/step/codec.h"

#include <cstring>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& bytes) : bytes_(bytes) { bytes_.clear(); }

  template <typename T>
  requires(std::is_arithmetic_v<T>) void operator()(T value) { Append(&value, sizeof value); }
  template <typename T>
  requires(std::is_arithmetic_v<T>) void operator()(const std::vector<T>& values) {
    (*this)(static_cast<uint32_t>(values.size()));
    Append(values.data(), values.size() * sizeof(T));
  }

 private:
  void Append(const void* data, size_t size) {
    const size_t at = bytes_.size();
    bytes_.resize(at + size);
    if (size > 0) std::memcpy(bytes_.data() + at, data, size);
  }
  std::vector<std::byte>& bytes_;
};

// Reads past the end fail once and for all; the caller asks ok() at the end.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  requires(std::is_arithmetic_v<T>) void operator()(T& value) {
    value = T{};
    if constexpr (std::is_same_v<T, bool>) {
      uint8_t byte = 0;
      Take(&byte, 1);
      ok_ = ok_ && byte <= 1;
      value = byte == 1;
    } else {
      Take(&value, sizeof value);
    }
  }
  template <typename T>
  requires(std::is_arithmetic_v<T>) void operator()(std::vector<T>& values) {
    const uint32_t count = Count(sizeof(T));
    values.resize(count);
    Take(values.data(), count * sizeof(T));
  }

  // A count of items of at least `item_bytes` each that the rest of the bytes can hold; 0 on
  // failure.
  uint32_t Count(size_t item_bytes) {
    uint32_t count = 0;
    (*this)(count);
    if (count > bytes_.size() / item_bytes) ok_ = false;
    return ok_ ? count : 0;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return bytes_.empty(); }

 private:
  void Take(void* data, size_t size) {
    ok_ = ok_ && size <= bytes_.size();
    if (!ok_ || size == 0) return;
    std::memcpy(data, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

// One list of fields serves both directions.
template <typename Visitor, typename Sample>
void VisitSample(Visitor& visit, Sample& sample) {
  visit(sample.row);
  visit(sample.target);
  visit(sample.num_logprobs);
  visit(sample.want_logits);
  visit(sample.sequence);
  visit(sample.draw);
  visit(sample.biases.first);
  visit(sample.biases.count);
  visit(sample.history.first);
  visit(sample.history.count);
  visit(sample.mask);
  visit(sample.params.temperature);
  visit(sample.params.top_k);
  visit(sample.params.top_p);
  visit(sample.params.min_p);
  visit(sample.params.seed);
  visit(sample.params.repetition_penalty);
  visit(sample.params.frequency_penalty);
  visit(sample.params.presence_penalty);
}

template <typename Visitor, typename Plan>
void VisitPlan(Visitor& visit, Plan& plan) {
  visit(plan.step);
  visit(plan.stop);
  visit(plan.report_loads);
  visit(plan.tokens);
  visit(plan.positions);
  visit(plan.span_offsets);
  visit(plan.page_offsets);
  visit(plan.pages);
  visit(plan.chunk_page_offsets);
  visit(plan.chunk_pages);
  visit(plan.page_copies);
  visit(plan.chunk_page_copies);
  visit(plan.bias_tokens);
  visit(plan.bias_values);
  visit(plan.history_tokens);
  visit(plan.history_counts);
  visit(plan.late_masks);
}

template <typename Visitor, typename Token>
void VisitToken(Visitor& visit, Token& token) {
  visit(token.token);
  visit(token.logprob);
  visit(token.top_tokens);
  visit(token.top_logprobs);
  visit(token.logits);
  visit(token.finite);
  visit(token.all_banned);
}

template <typename Visitor, typename Time>
void VisitTime(Visitor& visit, Time& time) {
  visit(time.wait_us);
  visit(time.compute_us);
}

// The least that an encoded SampleRow and SampledToken take.
constexpr size_t kSampleBytes = 73;
constexpr size_t kTokenBytes = 22;

}  // namespace

void EncodePlan(const StepPlan& plan, std::vector<std::byte>& bytes) {
  Writer write(bytes);
  VisitPlan(write, plan);
  if (plan.late_masks == 0) write(plan.masks);
  write(static_cast<uint32_t>(plan.samples.size()));
  for (const SampleRow& sample : plan.samples) VisitSample(write, sample);
}

absl::Status DecodePlan(std::span<const std::byte> bytes, StepPlan& plan) {
  Reader read(bytes);
  VisitPlan(read, plan);
  plan.masks.clear();
  if (plan.late_masks == 0) read(plan.masks);
  plan.samples.resize(read.Count(kSampleBytes));
  for (SampleRow& sample : plan.samples) VisitSample(read, sample);
  if (read.ok() && read.at_end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("malformed step plan of %d bytes", bytes.size()));
}

void EncodeMasks(const StepPlan& plan, std::vector<std::byte>& bytes) {
  Writer write(bytes);
  write(plan.step);
  write(plan.masks);
}

absl::Status DecodeMasks(std::span<const std::byte> bytes, StepPlan& plan) {
  Reader read(bytes);
  uint64_t step = 0;
  read(step);
  read(plan.masks);
  if (read.ok() && read.at_end() && step == plan.step) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("malformed masks of step %d, of %d bytes", plan.step, bytes.size()));
}

void EncodeResult(const absl::StatusOr<StepResult>& result, std::vector<std::byte>& bytes) {
  Writer write(bytes);
  write(static_cast<int32_t>(result.status().code()));
  if (!result.ok()) {
    const std::string message(result.status().message());
    write(std::vector<char>(message.begin(), message.end()));
    return;
  }
  write(result->step);
  write(static_cast<uint32_t>(result->samples.size()));
  for (const SampledToken& token : result->samples) VisitToken(write, token);
  write(result->expert_loads);
  write(static_cast<uint32_t>(result->stage_times.size()));
  for (const StageTime& time : result->stage_times) VisitTime(write, time);
}

absl::StatusOr<StepResult> DecodeResult(std::span<const std::byte> bytes) {
  Reader read(bytes);
  int32_t code = 0;
  read(code);
  if (read.ok() && code != 0) {
    std::vector<char> message;
    read(message);
    if (read.ok() && read.at_end()) {
      return absl::Status(static_cast<absl::StatusCode>(code),
                          std::string(message.begin(), message.end()));
    }
  }
  StepResult result;
  read(result.step);
  result.samples.resize(read.Count(kTokenBytes));
  for (SampledToken& token : result.samples) VisitToken(read, token);
  read(result.expert_loads);
  result.stage_times.resize(read.Count(sizeof(StageTime)));
  for (StageTime& time : result.stage_times) VisitTime(read, time);
  if (read.ok() && read.at_end() && code == 0) return result;
  return absl::InvalidArgumentError(
      absl::StrFormat("malformed step result of %d bytes", bytes.size()));
}

}  // namespace trireme
