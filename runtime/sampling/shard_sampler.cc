#include "runtime/sampling/shard_sampler.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"
#include "runtime/sampling/philox.h"
#include "runtime/sampling/sampler.h"

namespace trireme {
namespace {

// Words of the first exchange, before its lists.
constexpr size_t kFinite = 0;
constexpr size_t kBest = 1;     // the most likely token
constexpr size_t kOffered = 2;  // the target's logit, or the most likely token's as given
constexpr size_t kLists = 3;

// A logit that a shard has to tell, which may be zero; a word of 0 says that it has none.
constexpr uint64_t kPresent = uint64_t{1} << 63;
uint64_t PackLogit(float logit, int32_t token) {
  return kPresent | (static_cast<uint64_t>(token) << 32) | std::bit_cast<uint32_t>(logit);
}
float LogitIn(uint64_t word) { return std::bit_cast<float>(static_cast<uint32_t>(word)); }
int32_t TokenIn(uint64_t word) { return static_cast<int32_t>((word & ~kPresent) >> 32); }

size_t TopCount(const SampleRow& sample) {
  return static_cast<size_t>(std::max(sample.num_logprobs, 1));
}

Histogram HistogramAt(std::span<uint64_t> words, size_t first) {
  return words.subspan(first).first<kRanges>();
}

}  // namespace

ShardSampler::ShardSampler(const VocabularySlice& slice) : slice_(slice) {
  TRI_CHECK(slice.vocabulary <= kMaxVocabulary && slice.begin < slice.end);
}

absl::Status ShardSampler::Sample(const SampleBatch& batch, ShardExchange& exchange,
                                  ThreadPool* pool, std::vector<SampledToken>& results) {
  exchange_ = &exchange;
  pool_ = pool;
  shard_ = exchange.shard();
  shards_ = static_cast<size_t>(exchange.shards());
  Prepare(batch);
  TRI_RETURN_IF_ERROR(FindLargest());
  TRI_RETURN_IF_ERROR(SearchTopK());
  TRI_RETURN_IF_ERROR(SumMasses());
  TRI_RETURN_IF_ERROR(SearchTopP());
  TRI_RETURN_IF_ERROR(Draw());
  if (shard_ == 0) {
    for (Choice& choice : choices_) results.push_back(Outcome(choice));
  }
  return absl::OkStatus();
}

void ShardSampler::Prepare(const SampleBatch& batch) {
  const size_t bytes = slice_.size() * sizeof(float);
  TRI_CHECK(batch.logits.size() == batch.samples.size() &&
            batch.work.size() >= batch.samples.size() * bytes);
  choices_.clear();
  for (size_t i = 0; i < batch.samples.size(); ++i) {
    const SampleRow& sample = batch.samples[i];
    std::byte* const work = batch.work.data() + i * bytes;
    Choice& choice = choices_.emplace_back();
    choice.sample = &sample;
    choice.given = {batch.logits[i], slice_.size()};
    choice.draws = sample.target < 0;
    choice.greedy = sample.params.temperature < kGreedyTemperature;
    if (choice.draws) choice.adjustments = AdjustmentsOf(batch.plan, sample, slice_.vocabulary);
    choice.adjusted = reinterpret_cast<float*>(work);
    choice.steps = reinterpret_cast<uint32_t*>(work);
  }
  masses_.assign(choices_.size() * shards_, 0);
  heads_.resize(shards_);
}

absl::Status ShardSampler::Exchange(std::string_view what, WordsOf words, FillOf fill) {
  offsets_.assign(1, 0);
  for (const Choice& choice : choices_) {
    offsets_.push_back(offsets_.back() + (choice.over ? 0 : words(choice)));
  }
  if (offsets_.back() == 0) return absl::OkStatus();
  mine_.assign(offsets_.back(), 0);
  all_.resize(offsets_.back() * shards_);
  const auto one = [&](int64_t i) {
    const auto sample = static_cast<size_t>(i);
    const size_t count = offsets_[sample + 1] - offsets_[sample];
    if (count > 0) fill(choices_[sample], std::span(mine_).subspan(offsets_[sample], count));
  };
  const auto samples = static_cast<int64_t>(choices_.size());
  if (pool_ != nullptr) {
    pool_->ParallelFor(samples, one);
  } else {
    for (int64_t i = 0; i < samples; ++i) one(i);
  }
  return exchange_->Gather(mine_, all_, what);
}

std::span<const uint64_t> ShardSampler::Words(size_t shard, size_t sample) const {
  return std::span(all_).subspan(shard * offsets_.back() + offsets_[sample],
                                 offsets_[sample + 1] - offsets_[sample]);
}

std::span<uint64_t> ShardSampler::Masses(size_t sample) {
  return std::span(masses_).subspan(sample * shards_, shards_);
}

// ── 1. The largest.

bool ShardSampler::ListsTopK(const Choice& choice) const {
  const int32_t k = choice.sample->params.top_k;
  return choice.filters() && k > 0 && k <= kListed && k < slice_.vocabulary;
}

bool ShardSampler::SearchesTopK(const Choice& choice) const {
  const int32_t k = choice.sample->params.top_k;
  return choice.filters() && k > kListed && k < slice_.vocabulary;
}

absl::Status ShardSampler::FindLargest() {
  const auto words = [&](const Choice& choice) {
    size_t count = choice.scores() ? kLists + TopCount(*choice.sample) : kOffered;
    if (ListsTopK(choice)) count += static_cast<size_t>(choice.sample->params.top_k);
    return count;
  };
  TRI_RETURN_IF_ERROR(
      Exchange("largest logits", words,
               [&](Choice& choice, std::span<uint64_t> mine) { FillLargest(choice, mine); }));
  for (size_t i = 0; i < choices_.size(); ++i) ReadLargest(i);
  return absl::OkStatus();
}

void ShardSampler::FillLargest(Choice& choice, std::span<uint64_t> words) const {
  if (!AllFinite(choice.given)) return;
  words[kFinite] = 1;
  std::span<const float> logits = choice.given;
  if (!choice.adjustments.none()) {
    Adjust(choice.given, slice_.begin, choice.adjustments, {choice.adjusted, slice_.size()});
    logits = {choice.adjusted, slice_.size()};
  }
  if (choice.draws) words[kBest] = Largest(logits, slice_.begin);
  size_t lists = kOffered;
  if (choice.scores()) {
    const int32_t token = choice.draws ? IdOf(words[kBest]) : choice.sample->target;
    const bool mine =
        choice.draws ? words[kBest] != kNoCandidate : token >= slice_.begin && token < slice_.end;
    if (mine) {
      words[kOffered] = PackLogit(choice.given[static_cast<size_t>(token - slice_.begin)], token);
    }
    LargestFew(choice.given, slice_.begin, words.subspan(kLists, TopCount(*choice.sample)));
    lists = kLists + TopCount(*choice.sample);
  }
  if (ListsTopK(choice)) LargestFew(logits, slice_.begin, words.subspan(lists));
}

void ShardSampler::ReadLargest(size_t sample) {
  Choice& choice = choices_[sample];
  Candidate best = kNoCandidate;
  for (size_t shard = 0; shard < shards_; ++shard) {
    const auto words = Words(shard, sample);
    choice.outcome.finite &= words[kFinite] == 1;
    best = std::max(best, words[kBest]);
  }
  choice.outcome.all_banned = choice.outcome.finite && choice.draws && best == kNoCandidate;
  choice.outcome.finite &= !choice.outcome.all_banned;
  choice.over = !choice.outcome.finite;
  if (choice.over) return;
  choice.outcome.token = choice.draws ? IdOf(best) : choice.sample->target;
  if (choice.scores()) ReadTop(sample);
  if (!choice.draws) return;
  choice.filter.most_likely = choice.outcome.token;
  choice.filter.largest = LogitOf(best);
  if (!choice.filters()) return;
  const double min_p = static_cast<double>(choice.sample->params.min_p);
  if (min_p > 0) choice.filter.kept.cut = ToSteps(-PortableLog(min_p) * kStepsPerUnit);
  if (ListsTopK(choice)) ReadTopK(sample);
}

void ShardSampler::ReadTop(size_t sample) {
  Choice& choice = choices_[sample];
  Candidate largest = kNoCandidate;
  for (size_t shard = 0; shard < shards_; ++shard) {
    const auto words = Words(shard, sample);
    largest = std::max(largest, words[kLists]);
    const uint64_t offered = words[kOffered];
    if (offered != 0 && TokenIn(offered) == choice.outcome.token) {
      choice.token_logit = LogitIn(offered);
    }
  }
  choice.given_largest = LogitOf(largest);
  if (shard_ != 0 || choice.sample->num_logprobs == 0) return;
  SampledToken& outcome = choice.outcome;
  const size_t count = std::min(TopCount(*choice.sample), static_cast<size_t>(slice_.vocabulary));
  outcome.top_tokens.reserve(count);
  outcome.top_logprobs.reserve(count);
  Merge(sample, {.begin = kLists, .size = TopCount(*choice.sample)}, [&](Candidate candidate) {
    outcome.top_tokens.push_back(IdOf(candidate));
    outcome.top_logprobs.push_back(LogitOf(candidate));  // until the mass is known
  });
}

void ShardSampler::ReadTopK(size_t sample) {
  Choice& choice = choices_[sample];
  const auto k = static_cast<size_t>(choice.sample->params.top_k);
  const size_t begin = choice.scores() ? kLists + TopCount(*choice.sample) : kOffered;
  size_t seen = 0;
  Merge(sample, {.begin = begin, .size = k}, [&](Candidate candidate) {
    if (++seen < k) return;
    const uint32_t steps = StepsBelow(choice.filter.largest, LogitOf(candidate),
                                      StepsPerLogit(choice.sample->params.temperature));
    choice.filter.kept.cut = std::min(choice.filter.kept.cut, steps);
  });
}

void ShardSampler::Merge(size_t sample, const ListPlace& list,
                         absl::FunctionRef<void(Candidate)> visit) {
  std::fill(heads_.begin(), heads_.end(), size_t{0});
  for (size_t i = 0; i < list.size; ++i) {
    Candidate best = kNoCandidate;
    size_t from = 0;
    for (size_t shard = 0; shard < shards_; ++shard) {
      if (heads_[shard] == list.size) continue;
      const Candidate head = Words(shard, sample)[list.begin + heads_[shard]];
      if (head > best) {
        best = head;
        from = shard;
      }
    }
    if (best == kNoCandidate) return;
    ++heads_[from];
    visit(best);
  }
}

// ── The searches: top_k by counts, top_p by masses.

void ShardSampler::EnsureSteps(Choice& choice) const {
  if (choice.has_steps) return;
  const float* const logits = choice.adjustments.none() ? choice.given.data() : choice.adjusted;
  StepsOf({logits, slice_.size()}, choice.filter.largest,
          StepsPerLogit(choice.sample->params.temperature), choice.steps);
  choice.has_steps = true;
}

size_t ShardSampler::Descend(size_t sample, size_t first) {
  Choice& choice = choices_[sample];
  const std::span<uint64_t> masses = Masses(sample);
  size_t range = 0;
  for (; range + 1 < kRanges; ++range) {
    uint64_t amount = 0;
    for (size_t shard = 0; shard < shards_; ++shard) {
      amount += Words(shard, sample)[first + range];
    }
    if (choice.above + amount >= choice.wanted) break;
    choice.above += amount;
    for (size_t shard = 0; shard < shards_; ++shard) {
      masses[shard] += Words(shard, sample)[first + range];
    }
  }
  choice.prefix = {(choice.prefix.prefix << 8) | static_cast<uint32_t>(range),
                   choice.prefix.level + 1};
  return range;
}

absl::Status ShardSampler::SearchTopK() {
  for (Choice& choice : choices_) {
    choice.wanted = static_cast<uint64_t>(choice.sample->params.top_k);
  }
  for (int level = 0; level < kLevels; ++level) {
    const auto words = [&](const Choice& choice) { return SearchesTopK(choice) ? kRanges : 0; };
    const auto fill = [&](Choice& choice, std::span<uint64_t> mine) {
      EnsureSteps(choice);
      AddCounts({choice.steps, slice_.size()}, choice.prefix, HistogramAt(mine, 0));
    };
    TRI_RETURN_IF_ERROR(Exchange("top_k", words, fill));
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (SearchesTopK(choices_[i])) Descend(i, 0);
    }
  }
  for (Choice& choice : choices_) {
    if (!SearchesTopK(choice)) continue;
    choice.filter.kept.cut = std::min(choice.filter.kept.cut, choice.prefix.prefix);
    choice.prefix = {};
    choice.above = 0;
  }
  std::fill(masses_.begin(), masses_.end(), uint64_t{0});
  return absl::OkStatus();
}

absl::Status ShardSampler::SumMasses() {
  const auto words = [](const Choice& choice) {
    const size_t kept = choice.cuts_top_p() ? kRanges : 1;
    return (choice.scores() ? size_t{1} : 0) + (choice.filters() ? kept : 0);
  };
  const auto fill = [&](Choice& choice, std::span<uint64_t> mine) {
    size_t at = 0;
    if (choice.scores()) mine[at++] = MassBelow(choice.given, choice.given_largest);
    if (!choice.filters()) return;
    EnsureSteps(choice);
    const std::span<const uint32_t> steps{choice.steps, slice_.size()};
    if (choice.cuts_top_p()) {
      AddMasses(steps, choice.prefix, choice.filter.kept.cut, HistogramAt(mine, at));
    } else {
      mine[at] = MassUpTo(steps, choice.filter.kept.cut);
    }
  };
  TRI_RETURN_IF_ERROR(Exchange("masses", words, fill));
  for (size_t i = 0; i < choices_.size(); ++i) {
    if (!choices_[i].over) ReadMasses(i);
  }
  return absl::OkStatus();
}

void ShardSampler::ReadMasses(size_t sample) {
  Choice& choice = choices_[sample];
  uint64_t total = 0;
  for (size_t shard = 0; shard < shards_; ++shard) {
    auto words = Words(shard, sample);
    if (choice.scores()) {
      choice.given_mass += words.front();
      words = words.subspan(1);
    }
    for (const uint64_t mass : words) total += mass;
    if (choice.filters() && !choice.cuts_top_p()) Masses(sample)[shard] = words.front();
  }
  if (!choice.cuts_top_p()) return;
  const double wanted =
      std::ceil(static_cast<double>(choice.sample->params.top_p) * static_cast<double>(total));
  choice.wanted = std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, total);
  Descend(sample, choice.scores() ? 1 : 0);
}

absl::Status ShardSampler::SearchTopP() {
  for (int level = 1; level < kLevels; ++level) {
    const auto words = [](const Choice& choice) { return choice.cuts_top_p() ? kRanges : 0; };
    const auto fill = [&](Choice& choice, std::span<uint64_t> mine) {
      AddMasses({choice.steps, slice_.size()}, choice.prefix, choice.filter.kept.cut,
                HistogramAt(mine, 0));
    };
    TRI_RETURN_IF_ERROR(Exchange("top_p", words, fill));
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (!choices_[i].cuts_top_p()) continue;
      const size_t range = Descend(i, 0);
      if (level + 1 == kLevels) EndTopP(i, range);
    }
  }
  return absl::OkStatus();
}

// The range of the last level is one number of steps: of its tokens the lowest ids are kept, so
// many that what is wanted is reached.
void ShardSampler::EndTopP(size_t sample, size_t range) {
  Choice& choice = choices_[sample];
  Kept& kept = choice.filter.kept;
  kept.cut = choice.prefix.prefix;
  const uint64_t mass = MassOf(kept.cut);
  TRI_CHECK(mass > 0);
  uint64_t left = (choice.wanted - choice.above + mass - 1) / mass;
  for (size_t shard = 0; shard < shards_; ++shard) {
    const uint64_t ties = std::min(Words(shard, sample)[range] / mass, left);
    left -= ties;
    Masses(sample)[shard] += ties * mass;
    if (shard == static_cast<size_t>(shard_)) kept.ties = ties;
  }
}

// ── 3. The draw.

ShardSampler::Point ShardSampler::PointOf(size_t sample) {
  __extension__ using Wide = unsigned __int128;
  const SampleRow& row = *choices_[sample].sample;
  const std::span<const uint64_t> masses = Masses(sample);
  uint64_t total = 0;
  for (const uint64_t mass : masses) total += mass;
  // A multiple of 2^-53, below 1: so is the point below the total.
  const auto uniform =
      static_cast<uint64_t>(UniformDraw(row.params.seed, row.sequence, row.draw) * 0x1p53);
  Point point{.within = static_cast<uint64_t>((Wide{uniform} * total) >> 53)};
  while (point.within >= masses[point.shard]) point.within -= masses[point.shard++];
  return point;
}

absl::Status ShardSampler::Draw() {
  const auto words = [](const Choice& choice) { return choice.filters() ? size_t{1} : 0; };
  const auto fill = [&](Choice& choice, std::span<uint64_t> mine) {
    const Point point = PointOf(static_cast<size_t>(&choice - choices_.data()));
    if (point.shard != static_cast<size_t>(shard_)) return;
    const size_t at = TokenAt({choice.steps, slice_.size()}, choice.filter.kept, point.within);
    const auto token = static_cast<int32_t>(slice_.begin + static_cast<int64_t>(at));
    mine[0] = PackLogit(choice.given[at], token);
  };
  TRI_RETURN_IF_ERROR(Exchange("draws", words, fill));
  for (size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    if (!choice.filters()) continue;
    for (size_t shard = 0; shard < shards_; ++shard) {
      const uint64_t drawn = Words(shard, i)[0];
      if (drawn == 0) continue;
      choice.outcome.token = TokenIn(drawn);
      choice.token_logit = LogitIn(drawn);
    }
  }
  return absl::OkStatus();
}

SampledToken ShardSampler::Outcome(Choice& choice) const {
  SampledToken outcome = std::move(choice.outcome);
  if (choice.over || !choice.scores()) return outcome;
  const double log_of_sum = PortableLog(static_cast<double>(choice.given_mass) / kWholeMass);
  const auto logprob = [&](float logit) {
    return static_cast<float>(
        (static_cast<double>(logit) - static_cast<double>(choice.given_largest)) - log_of_sum);
  };
  outcome.logprob = logprob(choice.token_logit);
  for (float& top : outcome.top_logprobs) top = logprob(top);
  return outcome;
}

}  // namespace trireme
