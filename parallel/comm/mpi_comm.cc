#include "parallel/comm/mpi_comm.h"

#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "parallel/comm/endpoint.h"
#include "parallel/comm/peer_comm.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// How long a receive that can no longer be cancelled (its data is arriving) may take to end.
constexpr int kAbandonTests = 2000;

absl::Status MpiStatus(int code, const char* call) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return absl::UnavailableError(
      absl::StrFormat("%s: %s", call, std::string(text.data(), static_cast<size_t>(length))));
}

// Ends the process when the calls made in its lifetime take too long: MPI_Init and MPI_Finalize
// wait for other ranks and cannot be interrupted. Its thread, `guard`, only sleeps.
class StuckGuard {
 public:
  StuckGuard(const char* call, std::chrono::milliseconds timeout, int exit_code)
      : thread_([this, call, timeout, exit_code] {
          pthread_setname_np(pthread_self(), "guard");
          std::unique_lock lock(mutex_);
          if (wake_.wait_for(lock, timeout, [this] { return done_; })) return;
          LogError("a call of MPI did not return: another rank has not reached it",
                   {{"call", call}, {"timeout_ms", timeout.count()}, {"exit_code", exit_code}});
          _exit(exit_code);
        }) {}
  ~StuckGuard() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    wake_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::jthread thread_;  // last: it uses the members above, and joins before they go
};

// What each rank tells the others about where it runs.
struct Seat {
  std::array<char, 64> host{};
  std::array<char, 40>
      boot_id{};  // equal on ranks that share a kernel, whatever their host names say
  cpu_set_t cores{};
  int32_t threads = 1;
};

Seat MySeat(int threads) {
  Seat seat;
  seat.threads = threads;
  if (gethostname(seat.host.data(), seat.host.size() - 1) != 0) {
    std::strncpy(seat.host.data(), "unknown", seat.host.size() - 1);
  }
  if (FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "re"); file != nullptr) {
    [[maybe_unused]] const size_t read =
        std::fread(seat.boot_id.data(), 1, seat.boot_id.size() - 1, file);
    std::fclose(file);
  }
  if (sched_getaffinity(0, sizeof(seat.cores), &seat.cores) != 0) CPU_ZERO(&seat.cores);
  return seat;
}

// Whether the ranks that share rank `me`'s machine, each with its threads, have a core for each
// thread.
bool HasCoresForAll(const std::vector<Seat>& seats, size_t me) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  int threads = 0;
  for (const Seat& seat : seats) {
    if (seat.boot_id != seats[me].boot_id) continue;
    CPU_OR(&cores, &cores, &seat.cores);
    threads += seat.threads;
  }
  return threads <= CPU_COUNT(&cores);
}

}  // namespace

absl::StatusOr<bool> IsOneOfManyRanks(const LaunchEnvironment& environment) {
  if (!environment.ompi_comm_world_size.empty()) {
    int size = 0;
    if (!absl::SimpleAtoi(environment.ompi_comm_world_size, &size) || size < 1) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "OMPI_COMM_WORLD_SIZE must be the number of ranks; got \"%s\"; start with mpirun -n N",
          environment.ompi_comm_world_size));
    }
    return size > 1;
  }
  if (!environment.pmix_rank.empty()) return true;
  int tasks = 1;
  if (!environment.slurm_step_num_tasks.empty() &&
      !absl::SimpleAtoi(environment.slurm_step_num_tasks, &tasks)) {
    tasks = 1;
  }
  if (tasks > 1) {
    return absl::FailedPreconditionError(
        absl::StrFormat("srun started %d tasks without PMIx, so each would run alone; use srun "
                        "--mpi=pmix, or mpirun",
                        tasks));
  }
  return false;
}

class MpiSession::MpiEndpoint final : public Endpoint {
 public:
  static absl::StatusOr<std::unique_ptr<MpiEndpoint>> Open(int threads_per_rank) {
    MPI_Comm world = MPI_COMM_NULL;
    TRI_RETURN_IF_ERROR(MpiStatus(MPI_Comm_dup(MPI_COMM_WORLD, &world), "MPI_Comm_dup"));
    TRI_RETURN_IF_ERROR(
        MpiStatus(MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
    int rank = 0;
    int size = 0;
    TRI_RETURN_IF_ERROR(MpiStatus(MPI_Comm_rank(world, &rank), "MPI_Comm_rank"));
    TRI_RETURN_IF_ERROR(MpiStatus(MPI_Comm_size(world, &size), "MPI_Comm_size"));
    const Seat mine = MySeat(threads_per_rank);
    std::vector<Seat> seats(static_cast<size_t>(size));
    TRI_RETURN_IF_ERROR(MpiStatus(
        MPI_Allgather(&mine, sizeof(Seat), MPI_BYTE, seats.data(), sizeof(Seat), MPI_BYTE, world),
        "MPI_Allgather"));
    auto endpoint = std::make_unique<MpiEndpoint>(world, rank, std::move(seats));
    TRI_RETURN_IF_ERROR(endpoint->ReadTagLimit());
    return endpoint;
  }

  MpiEndpoint(MPI_Comm world, int rank, std::vector<Seat> seats)
      : world_(world),
        rank_(rank),
        seats_(std::move(seats)),
        may_spin_(HasCoresForAll(seats_, static_cast<size_t>(rank))) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(seats_.size()); }
  std::string HostOf(int rank) const override {
    return seats_[static_cast<size_t>(rank)].host.data();
  }
  bool SharesMachine(int rank, int other) const override {
    return seats_[static_cast<size_t>(rank)].boot_id == seats_[static_cast<size_t>(other)].boot_id;
  }
  bool may_spin() const override { return may_spin_; }

  absl::StatusOr<int> StartSend(Route to, std::span<const std::byte> data) override {
    TRI_CHECK_LE(TagOf(to), tag_limit_);
    const int ticket = FreeTicket();
    InFlight& send = in_flight_[static_cast<size_t>(ticket)];
    send.received_bytes = -1;
    TRI_RETURN_IF_ERROR(MpiStatus(MPI_Isend(data.data(), static_cast<int>(data.size()), MPI_BYTE,
                                            to.peer, TagOf(to), world_, &send.request),
                                  "MPI_Isend"));
    return ticket;
  }

  absl::StatusOr<int> StartReceive(Route from, std::span<std::byte> data) override {
    const int ticket = FreeTicket();
    InFlight& receive = in_flight_[static_cast<size_t>(ticket)];
    receive.received_bytes = static_cast<int>(data.size());
    TRI_RETURN_IF_ERROR(MpiStatus(MPI_Irecv(data.data(), receive.received_bytes, MPI_BYTE,
                                            from.peer, TagOf(from), world_, &receive.request),
                                  "MPI_Irecv"));
    return ticket;
  }

  absl::StatusOr<bool> Done(int ticket) override {
    InFlight& transfer = in_flight_[static_cast<size_t>(ticket)];
    if (transfer.request == MPI_REQUEST_NULL) return GivenUp();
    int done = 0;
    MPI_Status status;
    TRI_RETURN_IF_ERROR(MpiStatus(MPI_Test(&transfer.request, &done, &status), "MPI_Test"));
    if (done == 0) return false;
    const int expected = transfer.received_bytes;
    int bytes = expected;
    if (expected >= 0) MPI_Get_count(&status, MPI_BYTE, &bytes);
    if (bytes != expected) {
      return absl::InternalError(absl::StrFormat(
          "expected %d bytes, %d came: ranks disagree on the sequence of calls", expected, bytes));
    }
    return true;
  }

  // A large message moves only while its sender calls MPI, where the ranks cannot read each other's
  // memory. The probe matches nothing that matters: it is there for the call.
  void Progress() override {
    const auto active = [](const InFlight& transfer) {
      return transfer.request != MPI_REQUEST_NULL;
    };
    if (std::none_of(in_flight_.begin(), in_flight_.end(), active)) return;
    int waiting = 0;
    [[maybe_unused]] const int code =
        MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, world_, &waiting, MPI_STATUS_IGNORE);
  }

  void Abandon() override {
    for (InFlight& transfer : in_flight_) {
      if (transfer.request == MPI_REQUEST_NULL) continue;
      if (transfer.received_bytes >= 0) {
        MPI_Cancel(&transfer.request);
        int done = 0;
        for (int test = 0; test < kAbandonTests && done == 0; ++test) {
          if (MPI_Test(&transfer.request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
        }
      }
      if (transfer.request != MPI_REQUEST_NULL) MPI_Request_free(&transfer.request);
    }
  }

  std::optional<size_t> Waiting(Route from) override {
    int waiting = 0;
    MPI_Status status;
    if (MPI_Iprobe(from.peer, TagOf(from), world_, &waiting, &status) != MPI_SUCCESS ||
        waiting == 0) {
      return std::nullopt;
    }
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    return static_cast<size_t>(std::max(bytes, 0));
  }

 private:
  struct InFlight {
    MPI_Request request = MPI_REQUEST_NULL;  // null: the ticket is free
    int received_bytes = -1;                 // -1: a send
  };

  int FreeTicket() {
    const auto free =
        std::find_if(in_flight_.begin(), in_flight_.end(),
                     [](const InFlight& transfer) { return transfer.request == MPI_REQUEST_NULL; });
    const auto ticket = static_cast<int>(free - in_flight_.begin());
    if (free == in_flight_.end()) in_flight_.emplace_back();
    return ticket;
  }

  static int TagOf(Route route) {
    return route.context * kChannels + static_cast<int>(route.channel);
  }

  absl::Status ReadTagLimit() {
    int* limit = nullptr;
    int found = 0;
    TRI_RETURN_IF_ERROR(
        MpiStatus(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, static_cast<void*>(&limit), &found),
                  "MPI_Comm_get_attr"));
    if (found != 0) tag_limit_ = *limit;
    return absl::OkStatus();
  }

  const MPI_Comm world_;
  const int rank_;
  const std::vector<Seat> seats_;
  const bool may_spin_;
  int tag_limit_ = 32'767;           // what every MPI grants
  std::vector<InFlight> in_flight_;  // by ticket; grows to the most that were in flight
};

MpiSession::MpiSession(const MpiOptions& options, std::unique_ptr<MpiEndpoint> endpoint)
    : options_(options), endpoint_(std::move(endpoint)) {}

MpiSession::~MpiSession() = default;

absl::StatusOr<std::unique_ptr<MpiSession>> MpiSession::Start(const MpiOptions& options) {
  int initialized = 0;
  TRI_RETURN_IF_ERROR(MpiStatus(MPI_Initialized(&initialized), "MPI_Initialized"));
  TRI_CHECK(initialized == 0) << "MPI can be started once a process";
  const StuckGuard guard("MPI_Init_thread", options.start_timeout, options.stuck_exit_code);
  int provided = MPI_THREAD_SINGLE;
  TRI_RETURN_IF_ERROR(MpiStatus(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided),
                                "MPI_Init_thread"));
  if (provided < MPI_THREAD_SERIALIZED) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "MPI must allow calls from a thread of ours (level %d, SERIALIZED); it grants level %d",
        MPI_THREAD_SERIALIZED, provided));
  }
  TRI_ASSIGN_OR_RETURN(auto endpoint, MpiEndpoint::Open(options.threads_per_rank));
  return absl::WrapUnique(new MpiSession(options, std::move(endpoint)));
}

int MpiSession::rank() const { return endpoint_->rank(); }
int MpiSession::size() const { return endpoint_->size(); }
std::string MpiSession::HostOf(int rank) const { return endpoint_->HostOf(rank); }
bool MpiSession::may_spin() const { return endpoint_->may_spin(); }

std::unique_ptr<Communicator> MpiSession::World(FlightRing& ring) {
  return std::make_unique<PeerCommunicator>(*endpoint_, ring);
}

absl::Status MpiSession::Finish(std::chrono::milliseconds timeout) {
  const StuckGuard guard("MPI_Finalize", timeout, options_.stuck_exit_code);
  return MpiStatus(MPI_Finalize(), "MPI_Finalize");
}

}  // namespace trireme
