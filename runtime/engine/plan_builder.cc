#include "runtime/engine/plan_builder.h"

#include <algorithm>
#include <limits>

namespace trireme {
namespace {

int32_t SizeOf(const auto& values) { return static_cast<int32_t>(values.size()); }

// Whether the sequence's grammar lets nothing but a stop follow: only asked of sequences that may
// not stop yet, as it takes the mask, which is to be made later.
bool OnlyStops(Sequence& sequence) {
  GrammarState* const grammar = sequence.grammar();
  if (grammar == nullptr) return false;
  std::vector<uint32_t> mask(sequence.mask_words());
  grammar->Mask(mask);
  for (const int32_t stop : sequence.request().stop_tokens) {
    mask[static_cast<size_t>(stop / 32)] &= ~(uint32_t{1} << (stop % 32));
  }
  return std::all_of(mask.begin(), mask.end(), [](uint32_t word) { return word == 0; });
}

}  // namespace

PlanBuilder::PlanBuilder(uint64_t step, int64_t chunk, int64_t page_tokens)
    : chunk_(chunk), page_tokens_(page_tokens) {
  plan_.step = step;
  plan_.span_offsets.push_back(0);
  plan_.page_offsets.push_back(0);
  if (chunk_ > 0) plan_.chunk_page_offsets.push_back(0);
}

void PlanBuilder::Append(Sequence& sequence, int64_t rows) {
  const int64_t first = sequence.computed;
  const int64_t end = first + rows;
  AppendScores(sequence, rows);
  const auto begin = sequence.tokens().begin() + first;
  plan_.tokens.insert(plan_.tokens.end(), begin, begin + rows);
  if (end == sequence.size()) AppendDraws(sequence);
  plan_.tokens.insert(plan_.tokens.end(), sequence.drafts.begin(), sequence.drafts.end());
  for (int64_t position = first; plan_.positions.size() < plan_.tokens.size(); ++position) {
    plan_.positions.push_back(static_cast<int32_t>(position));
  }
  plan_.span_offsets.push_back(SizeOf(plan_.tokens));
  AppendPages(sequence, end + SizeOf(sequence.drafts));
}

void PlanBuilder::AppendPages(const Sequence& sequence, int64_t end) {
  const auto append = [this](const std::vector<int32_t>& held, int64_t positions,
                             std::vector<int32_t>& pages, std::vector<int32_t>& offsets) {
    const int64_t count = (positions + page_tokens_ - 1) / page_tokens_;
    pages.insert(pages.end(), held.begin(), held.begin() + count);
    offsets.push_back(SizeOf(pages));
  };
  append(sequence.pages.pages, end, plan_.pages, plan_.page_offsets);
  if (chunk_ == 0) return;
  append(sequence.pages.chunk_pages, end - sequence.pages.chunk_start, plan_.chunk_pages,
         plan_.chunk_page_offsets);
}

void PlanBuilder::AppendCopy(const Sequence& sequence, const KvCopy& copy, int64_t position) {
  const auto page_at = [this](const std::vector<int32_t>& held, int64_t at) {
    return held[static_cast<size_t>(at / page_tokens_)];
  };
  plan_.page_copies.push_back(copy.page);
  plan_.page_copies.push_back(page_at(sequence.pages.pages, position));
  if (chunk_ == 0) return;
  plan_.chunk_page_copies.push_back(copy.chunk_page);
  plan_.chunk_page_copies.push_back(
      page_at(sequence.pages.chunk_pages, position - sequence.pages.chunk_start));
}

SampleRow PlanBuilder::RowOf(const Sequence& sequence, int32_t row) const {
  const Request& request = sequence.request();
  SampleRow sample;
  sample.row = row;
  sample.num_logprobs = request.num_logprobs;
  sample.want_logits = request.want_logits;
  sample.sequence = request.sequence;
  sample.params = request.sampling;
  return sample;
}

// Prompt tokens that follow the rows about to be appended, where the request wants to know how
// likely they were and has not been told.
void PlanBuilder::AppendScores(const Sequence& sequence, int64_t rows) {
  if (!sequence.request().prompt_logprobs) return;
  const int64_t first = sequence.computed;
  const int64_t end = std::min(first + rows, sequence.prompt_size() - 1);
  for (int64_t i = std::max(first, sequence.scored); i < end; ++i) {
    SampleRow sample = RowOf(sequence, SizeOf(plan_.tokens) + static_cast<int32_t>(i - first));
    sample.draw = static_cast<uint32_t>(sequence.made());
    sample.target = sequence.tokens()[static_cast<size_t>(i + 1)];
    sample.num_logprobs = std::max(sample.num_logprobs, 0);
    plan_.samples.push_back(sample);
    expected_.push_back({sequence.turn, sequence.life, 0, i + 1});
  }
}

// The row appended last draws, and each row of a draft to come.
void PlanBuilder::AppendDraws(Sequence& sequence) {
  const std::span<const int32_t> drafts = sequence.drafts;
  PlanRange biases;
  const int32_t mask = AppendMask(sequence);
  for (size_t ahead = 0; ahead <= drafts.size(); ++ahead) {
    const int64_t made = sequence.made() + static_cast<int64_t>(ahead);
    SampleRow sample = RowOf(sequence, SizeOf(plan_.tokens) - 1 + static_cast<int32_t>(ahead));
    sample.draw = static_cast<uint32_t>(made);
    const bool as_before =
        ahead > 0 && sequence.stops_are_banned(made) == sequence.stops_are_banned(made - 1);
    if (!as_before) {
      biases = AppendBiases(sequence, sequence.stops_are_banned(made) && !OnlyStops(sequence));
    }
    sample.mask = mask;
    sample.biases = biases;
    if (const TokenHistory* history = sequence.history()) {
      sample.history = history->AppendTo(plan_, drafts.first(ahead));
    }
    plan_.samples.push_back(sample);
    expected_.push_back({sequence.turn, sequence.life, static_cast<int32_t>(ahead), -1});
  }
}

int32_t PlanBuilder::AppendMask(Sequence& sequence) {
  if (sequence.grammar() == nullptr) return -1;
  grammars_.push_back(sequence.grammar());
  return plan_.late_masks++;
}

PlanRange PlanBuilder::AppendBiases(const Sequence& sequence, bool ban_stops) {
  const Request& request = sequence.request();
  const int32_t first = SizeOf(plan_.bias_tokens);
  const auto append = [this](int32_t token, float bias) {
    plan_.bias_tokens.push_back(token);
    plan_.bias_values.push_back(bias);
  };
  if (ban_stops) {
    for (const int32_t token : request.stop_tokens) {
      const auto begin = plan_.bias_tokens.begin() + first;
      if (std::find(begin, plan_.bias_tokens.end(), token) != plan_.bias_tokens.end()) continue;
      append(token, -std::numeric_limits<float>::infinity());
    }
  }
  const int32_t banned = SizeOf(plan_.bias_tokens);
  for (const TokenBias& bias : request.logit_bias) {
    const auto begin = plan_.bias_tokens.begin() + first;
    const auto end = plan_.bias_tokens.begin() + banned;
    if (std::find(begin, end, bias.token) == end) append(bias.token, bias.bias);
  }
  return {first, SizeOf(plan_.bias_tokens) - first};
}

}  // namespace trireme
