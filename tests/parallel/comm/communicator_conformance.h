// What every Communicator must do, whatever carries it. Each case is run by all ranks of a fresh
// communicator at once; the tests of a transport instantiate the list (thread_comm_test.cc,
// tests/mpi/mpi_comm_test.cc).
#pragma once

#include <ostream>
#include <span>

#include "parallel/comm/communicator.h"

namespace trireme {

struct ConformanceCase {
  const char* name;
  void (*body)(Communicator& communicator);
  int least_ranks = 1;
  bool power_of_two = false;  // needs one
};

// How gtest shows a case.
inline void PrintTo(const ConformanceCase& test, std::ostream* out) { *out << test.name; }

std::span<const ConformanceCase> ConformanceCases();

// Whether a case can run on that many ranks.
bool Fits(const ConformanceCase& test, int ranks);

}  // namespace trireme
