#include "tests/mpi/mpi_test_main.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "runtime/base/log.h"

namespace trireme {
namespace {

// A test program's own globals: gtest gives its cases no other way to reach what main made.
struct Process {
  std::unique_ptr<MpiSession> session;
  FlightRing ring;
  std::unique_ptr<Communicator> world;
};
Process& TheProcess() {
  static Process process;
  return process;
}

}  // namespace

MpiSession& TestSession() { return *TheProcess().session; }

std::unique_ptr<Communicator> FreshCommunicator() {
  Communicator& world = *TheProcess().world;
  auto fresh = world.Split(0, world.rank(), Deadline::AfterMs(60'000));
  TRI_CHECK(fresh.ok()) << fresh.status().ToString();
  return *std::move(fresh);
}

int RunAllTests(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  Process& process = TheProcess();
  auto session = MpiSession::Start({.start_timeout = std::chrono::seconds(60)});
  TRI_CHECK(session.ok()) << session.status().ToString();
  process.session = *std::move(session);
  process.world = process.session->World(process.ring);
  SetLogOrigin("rank=" + std::to_string(process.session->rank()));
  if (process.session->rank() != 0) {
    // One report is enough to read; failures of the others are still printed.
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    testing::TestEventListener* printer = listeners.Release(listeners.default_result_printer());
    class Failures final : public testing::EmptyTestEventListener {
      void OnTestPartResult(const testing::TestPartResult& part) override {
        if (part.failed()) {
          std::fprintf(stderr, "rank %d: %s:%d: %s\n", TestSession().rank(), part.file_name(),
                       part.line_number(), part.summary());
        }
      }
    };
    delete printer;
    listeners.Append(new Failures);
  }
  const int result = RUN_ALL_TESTS();
  const absl::Status left = process.world->Barrier(Deadline::AfterMs(30'000), "end of tests");
  if (result != 0 || !left.ok()) {
    std::fflush(nullptr);
    _exit(1);
  }
  return process.session->Finish(std::chrono::seconds(30)).ok() ? 0 : 1;
}

}  // namespace trireme

int main(int argc, char** argv) { return trireme::RunAllTests(argc, argv); }
