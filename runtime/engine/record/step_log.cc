#include "runtime/engine/record/step_log.h"

#include <algorithm>
#include <utility>

namespace trireme {

StepRecord RecordOf(const StepPlan& plan) {
  StepRecord record;
  record.step = plan.step;
  record.rows = static_cast<int32_t>(plan.tokens.size());
  record.spans = static_cast<int32_t>(plan.span_offsets.size()) - 1;
  record.samples = static_cast<int32_t>(plan.samples.size());
  record.page_copies =
      static_cast<int32_t>((plan.page_copies.size() + plan.chunk_page_copies.size()) / 2);
  size_t sample = 0;
  for (size_t span = 0; span + 1 < plan.span_offsets.size(); ++span) {
    const int32_t end = plan.span_offsets[span + 1];
    const int32_t rows = end - plan.span_offsets[span];
    int32_t drawn = 0;  // rows that a token is drawn for
    int32_t last_row = -1;
    for (; sample < plan.samples.size() && plan.samples[sample].row < end; ++sample) {
      const SampleRow& item = plan.samples[sample];
      if (item.target < 0 && item.row != last_row) ++drawn;
      last_row = item.row;
    }
    if (drawn == rows) {
      record.decode_rows += rows;
      record.drafts += rows - 1;
    } else {
      record.prefill_rows += rows;
    }
  }
  return record;
}

void StepLog::Submitted(StepRecord record) {
  if (records_.size() < kRecords) {
    records_.push_back(std::move(record));
    return;
  }
  records_[next_] = std::move(record);
  next_ = (next_ + 1) % kRecords;
}

void StepLog::Completed(const StepResult& result, const StepRecord& times) {
  const auto found = std::find_if(records_.begin(), records_.end(), [&](const StepRecord& record) {
    return record.step == result.step;
  });
  if (found == records_.end()) return;
  found->awaited_ns = times.awaited_ns;
  found->result_ns = times.result_ns;
  found->completed_ns = times.completed_ns;
  found->stage_times = result.stage_times;
}

std::vector<StepRecord> StepLog::Records() const {
  std::vector<StepRecord> records(records_.begin() + static_cast<std::ptrdiff_t>(next_),
                                  records_.end());
  records.insert(records.end(), records_.begin(),
                 records_.begin() + static_cast<std::ptrdiff_t>(next_));
  return records;
}

}  // namespace trireme
