// The one loop of sampling that is worth wide vectors: an exponential for every token.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme {

// How many values are computed at a time, the most of any vector unit here.
inline constexpr size_t kMassLanes = 8;

// masses[i] = ToMass(PortableExp(exponents[i])), the same bits at every vector width.
// count: a multiple of kMassLanes.
void MassesOf(const double* exponents, size_t count, uint64_t* masses);

}  // namespace trireme
