// Sampling where every shard holds a slice of the vocabulary, and no shard ever sees all logits.
// All samples of a batch go through the same few exchanges, in each of which a shard tells what it
// found in its slice:
//
//   1. largest   whether all logits are finite; the most likely token; the most likely few, where
//                they are reported or top_k is small
//      top_k     four levels of a search by counts, where top_k is larger than kListed
//   2. mass      of e^logit, where log-probabilities are wanted, and of the tokens that min_p and
//                top_k keep: one number, or where top_p cuts its first level (likelihood.h: steps)
//      top_p     three more levels of a search for where it cuts
//   3. draw      the token and its logit, from the shard that the draw falls on
//
// An exchange that no sample needs is left out: greedy sampling takes the first alone, of two words
// a sample. Every shard reads the same words and decides alike. Everything compared or added is a
// whole number, so the result does not depend on how the vocabulary is cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "runtime/base/thread_pool.h"
#include "runtime/sampling/penalties.h"
#include "runtime/sampling/shard_exchange.h"
#include "runtime/sampling/slice_passes.h"
#include "runtime/step/step_plan.h"

namespace trireme {

// The largest top_k whose candidates are simply listed.
inline constexpr int32_t kListed = 128;

// The tokens [begin, end) of a vocabulary.
struct VocabularySlice {
  int64_t vocabulary = 0;
  int64_t begin = 0;
  int64_t end = 0;

  size_t size() const { return static_cast<size_t>(end - begin); }
};

struct SampleBatch {
  const StepPlan& plan;                  // holds what the samples name
  std::span<const SampleRow> samples;    // valid parameters, indexes as CheckPlan wants them
  std::span<const float* const> logits;  // [samples] this shard's slice of each one's row
  std::span<std::byte> work;  // [samples, slice] of 4 bytes, unspecified before and after
};

// What became of the parameters of a sample that was drawn.
struct SampleFilter {
  int32_t most_likely = 0;  // after penalties, biases and mask
  float largest = 0;        // its logit
  Kept kept;                // of the shard's tokens, if the sample is not greedy
};

class ShardSampler {
 public:
  explicit ShardSampler(const VocabularySlice& slice);

  // Appends to `results` on shard 0, in order. want_logits is the caller's business. The first
  // error of the exchange ends it. pool: nullptr to use the caller's thread alone.
  absl::Status Sample(const SampleBatch& batch, ShardExchange& exchange, ThreadPool* pool,
                      std::vector<SampledToken>& results);

  // Of the last call's samples, those that were drawn.
  const SampleFilter& filter(size_t sample) const { return choices_[sample].filter; }

 private:
  // How far one sample has come.
  struct Choice {
    const SampleRow* sample = nullptr;
    std::span<const float> given;
    Adjustments adjustments;
    float* adjusted = nullptr;  // in the work memory, until
    uint32_t* steps = nullptr;  // these take its place
    bool draws = false;         // rather than scores a target
    bool greedy = false;
    bool has_steps = false;
    bool over = false;     // nothing can be drawn
    SampledToken outcome;  // on every shard; the lists of top tokens on shard 0 only
    SampleFilter filter;
    float given_largest = 0;
    uint64_t given_mass = 0;
    float token_logit = 0;  // of the outcome's token, as given
    // The search for a cut: how much is wanted, and how much lies above the prefix.
    StepsPrefix prefix;
    uint64_t wanted = 0;
    uint64_t above = 0;

    bool scores() const { return sample->num_logprobs >= 0; }
    bool filters() const { return draws && !greedy && !over; }
    bool cuts_top_p() const { return filters() && sample->params.top_p < 1; }
  };

  // What an exchange asks of a sample: how many words, and what to fill them with (they are zero).
  using WordsOf = absl::FunctionRef<size_t(const Choice&)>;
  using FillOf = absl::FunctionRef<void(Choice&, std::span<uint64_t>)>;

  // Lists of candidates in the words of an exchange.
  struct ListPlace {
    size_t begin = 0;
    size_t size = 0;
  };
  // Where a draw falls: a shard, and how far into its mass.
  struct Point {
    size_t shard = 0;
    uint64_t within = 0;
  };

  void Prepare(const SampleBatch& batch);
  absl::Status Exchange(std::string_view what, WordsOf words, FillOf fill);
  std::span<const uint64_t> Words(size_t shard, size_t sample) const;
  std::span<uint64_t> Masses(size_t sample);

  absl::Status FindLargest();
  void FillLargest(Choice& choice, std::span<uint64_t> words) const;
  void ReadLargest(size_t sample);
  void ReadTop(size_t sample);
  void ReadTopK(size_t sample);
  bool ListsTopK(const Choice& choice) const;
  bool SearchesTopK(const Choice& choice) const;
  // Visits the most likely of all shards' lists, as many as one list has room for.
  void Merge(size_t sample, const ListPlace& list, absl::FunctionRef<void(Candidate)> visit);

  absl::Status SearchTopK();
  absl::Status SumMasses();
  void ReadMasses(size_t sample);
  absl::Status SearchTopP();
  void EndTopP(size_t sample, size_t range);
  void EnsureSteps(Choice& choice) const;
  // Takes a search one level down, into the range where what is wanted is reached, by the
  // histograms that begin at word `first`; returns the range.
  size_t Descend(size_t sample, size_t first);

  absl::Status Draw();
  Point PointOf(size_t sample);
  SampledToken Outcome(Choice& choice) const;

  const VocabularySlice slice_;
  ShardExchange* exchange_ = nullptr;  // of the call in progress
  ThreadPool* pool_ = nullptr;
  int shard_ = 0;
  size_t shards_ = 1;
  std::vector<Choice> choices_;
  std::vector<uint64_t> masses_;  // [samples, shards] of the tokens kept
  std::vector<size_t> offsets_;   // [samples + 1] into an exchange's words
  std::vector<uint64_t> mine_;
  std::vector<uint64_t> all_;  // [shards, words]
  std::vector<size_t> heads_;  // [shards]
};

}  // namespace trireme
