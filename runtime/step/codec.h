// Plans and results as flat bytes, for the trip between ranks of one build (little-endian, arrays
// as a u32 count and their elements, fields in the order of the structs). Decoding treats the bytes
// as untrusted: counts are checked against what is left before anything is allocated, and trailing
// bytes are refused.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/step/step_plan.h"

namespace trireme {

inline constexpr size_t kMaxEncodedPlan = size_t{64} << 20;
inline constexpr size_t kMaxEncodedResult = size_t{1} << 30;

// `bytes` is cleared first; its capacity is kept, so a steady stream of plans allocates nothing.
void EncodePlan(const StepPlan& plan, std::vector<std::byte>& bytes);
// Overwrites `plan`, whose vectors keep their capacity for the same reason; after an error its
// content is of no use.
absl::Status DecodePlan(std::span<const std::byte> bytes, StepPlan& plan);

// The masks of a plan with late ones; how many there must be is for the stage to check.
void EncodeMasks(const StepPlan& plan, std::vector<std::byte>& bytes);
absl::Status DecodeMasks(std::span<const std::byte> bytes, StepPlan& plan);

// A result, or the error that took its place (the stage failed on the rank that owed it).
void EncodeResult(const absl::StatusOr<StepResult>& result, std::vector<std::byte>& bytes);
absl::StatusOr<StepResult> DecodeResult(std::span<const std::byte> bytes);

}  // namespace trireme
