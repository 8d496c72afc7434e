#include "runtime/engine/record/step_trace.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

using nlohmann::json;

// Tracks of a rank, in the order in which they are shown.
enum Track { kPlan = 1, kSubmit, kCompute, kAwait, kDeliver, kOperations };

double Microseconds(int64_t ns) { return static_cast<double>(ns) / 1e3; }

class Writer {
 public:
  void NameRank(int rank, const std::string& host) {
    Metadata("process_name", rank, 0, absl::StrFormat("rank %d on host %s", rank, host));
    events_.push_back({{"ph", "M"},
                       {"name", "process_sort_index"},
                       {"pid", rank},
                       {"tid", 0},
                       {"ts", 0},
                       {"args", {{"sort_index", rank}}}});
  }
  void NameTrack(int rank, Track track, const std::string& name) {
    Metadata("thread_name", rank, track, name);
  }
  void Span(int rank, Track track, const std::string& name, int64_t begin_ns, int64_t end_ns,
            json args) {
    events_.push_back({{"ph", "X"},
                       {"name", name},
                       {"cat", "step"},
                       {"pid", rank},
                       {"tid", track},
                       {"ts", Microseconds(begin_ns)},
                       {"dur", Microseconds(std::max<int64_t>(end_ns - begin_ns, 0))},
                       {"args", std::move(args)}});
  }
  void Counters(int64_t at_ns, const char* name, json values) {
    events_.push_back({{"ph", "C"},
                       {"name", name},
                       {"pid", 0},
                       {"tid", 0},
                       {"ts", Microseconds(at_ns)},
                       {"args", std::move(values)}});
  }
  // A mark across all tracks.
  void Mark(int rank, const std::string& text, int64_t at_ns) {
    events_.push_back({{"ph", "i"},
                       {"name", text},
                       {"s", "g"},
                       {"pid", rank},
                       {"tid", 0},
                       {"ts", Microseconds(at_ns)},
                       {"args", json::object()}});
  }

  std::string Finish(const TraceInput& input) {
    const json trace = {{"traceEvents", std::move(events_)},
                        {"displayTimeUnit", "ms"},
                        {"otherData", {{"reason", input.reason}, {"rank", input.rank}}}};
    return trace.dump(-1, ' ', true, json::error_handler_t::replace);
  }

 private:
  void Metadata(const char* kind, int rank, int track, const std::string& name) {
    events_.push_back({{"ph", "M"},
                       {"name", kind},
                       {"pid", rank},
                       {"tid", track},
                       {"ts", 0},
                       {"args", {{"name", name}}}});
  }

  json events_ = json::array();
};

json ArgumentsOf(const StepRecord& step) {
  return {{"step", step.step},
          {"rows", step.rows},
          {"spans", step.spans},
          {"decode_rows", step.decode_rows},
          {"prefill_rows", step.prefill_rows},
          {"samples", step.samples},
          {"drafts", step.drafts},
          {"page_copies", step.page_copies},
          {"in_flight", step.result_ns == 0}};
}

void WriteLeader(const StepRecord& step, int64_t now_ns, Writer& writer) {
  const std::string name = absl::StrFormat("step %d", step.step);
  writer.Span(0, kPlan, name, step.planning_ns, step.planned_ns, ArgumentsOf(step));
  writer.Span(0, kSubmit, name, step.planned_ns, step.submitted_ns, {{"step", step.step}});
  if (step.awaited_ns != 0) {
    const int64_t end = step.result_ns == 0 ? now_ns : step.result_ns;
    writer.Span(0, kAwait, name, step.awaited_ns, end, {{"step", step.step}});
  }
  if (step.completed_ns != 0) {
    writer.Span(0, kDeliver, name, step.result_ns, step.completed_ns, {{"step", step.step}});
  }
  const EngineLoad& load = step.load;
  writer.Counters(step.planned_ns, "sequences",
                  {{"running", load.running}, {"waiting", load.waiting}});
  writer.Counters(step.planned_ns, "pages",
                  {{"free", load.free_pages}, {"cached", load.cached_pages}});
}

// free_ns: when each stage had ended what it worked on before.
void WriteStages(const StepRecord& step, int shards, std::vector<int64_t>& free_ns,
                 Writer& writer) {
  int64_t handed_on_ns = step.planned_ns;
  free_ns.resize(std::max(free_ns.size(), step.stage_times.size()));
  for (size_t stage = 0; stage < step.stage_times.size(); ++stage) {
    const StageTime& time = step.stage_times[stage];
    const int64_t compute_ns = int64_t{time.compute_us} * 1000;
    int64_t begin = std::max(handed_on_ns, free_ns[stage]);
    if (step.result_ns != 0) begin = std::min(begin, step.result_ns - compute_ns);
    handed_on_ns = free_ns[stage] = begin + compute_ns;
    writer.Span(static_cast<int>(stage) * shards, kCompute, absl::StrFormat("step %d", step.step),
                begin, handed_on_ns, {{"step", step.step}, {"waited_us", time.wait_us}});
  }
}

}  // namespace

std::string ChromeTrace(const TraceInput& input) {
  Writer writer;
  for (size_t rank = 0; rank < input.hosts.size(); ++rank) {
    const auto number = static_cast<int>(rank);
    writer.NameRank(number, input.hosts[rank]);
    if (number % input.shards == 0) {
      writer.NameTrack(number, kCompute,
                       absl::StrFormat("stage %d computes", number / input.shards));
    }
  }
  writer.NameTrack(0, kPlan, "plan");
  writer.NameTrack(0, kSubmit, "submit (own stage's part included)");
  writer.NameTrack(0, kAwait, "wait for the result");
  writer.NameTrack(0, kDeliver, "deliver");
  writer.NameTrack(input.rank, kOperations, "operations between ranks");
  std::vector<int64_t> free_ns;
  for (const StepRecord& step : input.steps) {
    WriteLeader(step, input.now_ns, writer);
    WriteStages(step, input.shards, free_ns, writer);
  }
  for (const TraceSpan& operation : input.operations) {
    const bool goes_on = operation.end_ns == 0;
    writer.Span(input.rank, kOperations, operation.name, operation.begin_ns,
                goes_on ? input.now_ns : operation.end_ns,
                {{"detail", operation.detail}, {"in_flight", goes_on}});
  }
  if (!input.reason.empty()) writer.Mark(input.rank, input.reason, input.now_ns);
  return writer.Finish(input);
}

}  // namespace trireme
