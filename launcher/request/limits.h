// What one request may ask for. Every number is checked at the door before anything is allocated
// for it, so that no request can cost more than these say; those of sampling stand with the sampler
// (runtime/sampling/sampler.h). proto/trireme/v1/inference.proto tells
// clients the same.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme {

inline constexpr size_t kMaxStopTokens = 16;
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopStringBytes = 256;
inline constexpr int32_t kMaxLogprobs = 20;
inline constexpr int32_t kMaxCompletions = 128;  // completions of one prompt
inline constexpr size_t kMaxRequestIdBytes = 128;
inline constexpr size_t kMaxTenantBytes = 64;
inline constexpr int32_t kMaxPriority = 1000;  // and as much below zero
inline constexpr size_t kMaxChatMessages = 4096;
inline constexpr size_t kMaxTools = 128;
inline constexpr float kMinRepetitionPenalty = 0.01f;
inline constexpr size_t kMaxLogitBiases = 300;
inline constexpr float kMaxLogitBias = 100;  // and as much below zero, or minus infinity
inline constexpr size_t kMaxSchemaBytes = 65'536;
inline constexpr size_t kMaxRegexBytes = 4'096;
inline constexpr size_t kMaxConstraintChoices = 256;
inline constexpr size_t kMaxConstraintChoiceBytes = 1'024;

}  // namespace trireme
