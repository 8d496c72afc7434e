// The one wall of the house. Above a StepPlan there are requests, tenants, strings and deadlines
// and no tensors; below it there are tokens, pages and tensors and no requests.
//
// A StepPlan is everything every rank needs for one step, as flat arrays: rows of tokens grouped in
// spans (one span a sequence), the pages each sequence's keys and values live in, and which rows to
// sample and how. It is self-contained: a follower keeps nothing from one plan to the next but the
// bytes in its pages. (Only masks may come after it: late_masks.)
#pragma once

#include <cstdint>
#include <vector>

namespace trireme {

// How to choose a token from logits; order and meaning in sampling/sampler.h.
struct SamplingParams {
  float temperature = 0;  // < 1e-5: greedy
  int32_t top_k = 0;      // 0: off
  float top_p = 1;
  float min_p = 0;
  uint64_t seed = 0;
  // Of tokens that the prompt or the completion holds: logit > 0 ? logit / r : logit * r. 1: off.
  float repetition_penalty = 1;
  // Subtracted once for each time that the completion holds the token. 0: off.
  float frequency_penalty = 0;
  // Subtracted from tokens that the completion holds. 0: off.
  float presence_penalty = 0;
};

// Some of a plan's entries of one kind: [first, first + count).
struct PlanRange {
  int32_t first = 0;
  int32_t count = 0;
};

// One row whose logits are wanted. Several may name the same row: continuations that share it.
struct SampleRow {
  int32_t row = 0;  // index into tokens
  // The token whose log-probability is wanted (scoring a given text), or -1 to draw one.
  int32_t target = -1;
  // Size of the list of most likely tokens to report; 0: the token's own log-probability only; -1:
  // not even that (it costs a pass over the vocabulary).
  int32_t num_logprobs = -1;
  bool want_logits = false;  // report the whole row of logits (tests and tools only)
  // Counts the draws of the sequence, so that a draw is a pure function of (seed, sequence, draw).
  uint32_t sequence = 0;
  uint32_t draw = 0;
  // What is done to the logits before a token is drawn (log-probabilities are of those given):
  PlanRange biases;   // of the plan's bias_tokens, each at most once
  PlanRange history;  // of its history_tokens, each at most once; needed where penalties are on
  int32_t mask = -1;  // which of its masks: only tokens in it may be drawn; -1: all may
  SamplingParams params;
};

struct StepPlan {
  uint64_t step = 0;          // rises by one a plan; 0 is never used
  bool stop = false;          // an empty plan that ends the followers' loop
  bool report_loads = false;  // the result is to carry expert_loads

  std::vector<int32_t> tokens;        // [rows]
  std::vector<int32_t> positions;     // [rows] absolute
  std::vector<int32_t> span_offsets;  // [spans + 1] rows of each span, consecutive positions
  std::vector<int32_t> page_offsets;  // [spans + 1] into pages
  std::vector<int32_t> pages;  // page ids, in order of position, covering the span's last row
  // The same in layers that keep only the current chunk of a sequence (Llama 4's chunked
  // attention): pages of positions from the chunk's beginning on. No span crosses from one chunk
  // into the next. Empty where the model has no such layers.
  std::vector<int32_t> chunk_page_offsets;
  std::vector<int32_t> chunk_pages;
  // Page ids in pairs (from, to): contents to copy, in every layer of the kind, before the step
  // writes. No page is both read and written.
  std::vector<int32_t> page_copies;
  std::vector<int32_t> chunk_page_copies;

  std::vector<SampleRow> samples;  // ascending by row
  std::vector<int32_t> bias_tokens;
  std::vector<float> bias_values;  // added to the token's logit; -infinity bans it
  std::vector<int32_t> history_tokens;
  // How often the completion so far holds the token; 0: only the prompt does.
  std::vector<int32_t> history_counts;
  std::vector<uint32_t> masks;  // [masks, MaskWords(vocabulary)] bit t % 32 of word t / 32: token t
  // So many masks are made while the layers run: they do not travel with the plan, and `masks` is
  // whole only by the time that the step samples (Executor::Submit). 0: they are all here.
  int32_t late_masks = 0;
};

// Words of 32 bits that a mask over a vocabulary takes.
constexpr int64_t MaskWords(int64_t vocabulary) { return (vocabulary + 31) / 32; }

// One per SampleRow, in the same order.
struct SampledToken {
  int32_t token = 0;  // drawn, or the target
  float logprob = 0;  // natural log of its probability at temperature 1, before any filter
  std::vector<int32_t> top_tokens;  // [num_logprobs] most likely first, ties by lower id
  std::vector<float> top_logprobs;  // [num_logprobs]
  std::vector<float> logits;        // [vocabulary] if want_logits
  // False when nothing was drawn: the row's logits held NaN or infinity, or
  bool finite = true;
  // biases and mask left no token to draw.
  bool all_banned = false;
};

// What a stage did with a step, in its own time.
struct StageTime {
  uint32_t wait_us = 0;     // for the rows of the stage before, or for a buffer for them
  uint32_t compute_us = 0;  // collectives of the stage's shards included
};

struct StepResult {
  uint64_t step = 0;
  std::vector<SampledToken> samples;
  // Slots that chose each expert since the start, this step's included: [layers * experts], expert
  // e of layer l at l * experts + e, zeros on layers without routed experts. Empty unless the plan
  // asked and the model has routed experts.
  std::vector<int64_t> expert_loads;
  // Of the stages in their order, their first shards'. Empty where nobody measured.
  std::vector<StageTime> stage_times;
};

}  // namespace trireme
