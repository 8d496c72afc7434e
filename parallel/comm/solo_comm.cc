#include "parallel/comm/solo_comm.h"

#include <unistd.h>

#include <array>
#include <cstring>

namespace trireme {
namespace {

class SoloCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void TreeSum(TensorView, std::string_view) override {}
  void AllGather(ConstTensorView mine, std::span<const int64_t> widths, TensorView all,
                 std::string_view) override {
    TRI_CHECK(widths.size() == 1 && mine.contiguous() && mine.bytes() == all.bytes());
    if (mine.bytes() > 0) std::memcpy(all.data, mine.data, static_cast<size_t>(mine.bytes()));
  }
  absl::Status status() const override { return absl::OkStatus(); }

  void SetStep(uint64_t, Deadline) override {}
  absl::Status Barrier(Deadline, std::string_view) override { return absl::OkStatus(); }
  absl::Status Broadcast(int root, std::span<std::byte>, Deadline, std::string_view) override {
    TRI_CHECK_EQ(root, 0);
    return absl::OkStatus();
  }

  // There is no other rank to name: a call is a bug of the caller.
  absl::Status Send(int to, std::span<const std::byte>, Deadline, std::string_view) override {
    return Nobody(to);
  }
  absl::Status Recv(int from, std::span<std::byte>, Deadline, std::string_view) override {
    return Nobody(from);
  }
  absl::Status SendMessage(int to, std::span<const std::byte>, Deadline,
                           std::string_view) override {
    return Nobody(to);
  }
  absl::StatusOr<std::span<const std::byte>> RecvMessage(int from, size_t, Deadline,
                                                         std::string_view) override {
    return Nobody(from);
  }
  absl::StatusOr<Posted> PostSend(int to, std::span<const std::byte>) override {
    return Nobody(to);
  }
  absl::StatusOr<Posted> PostRecv(int from, std::span<std::byte>) override { return Nobody(from); }
  absl::StatusOr<Posted> PostMessage(int to, std::span<const std::byte>) override {
    return Nobody(to);
  }
  absl::StatusOr<bool> Poll(Posted&) override { return true; }
  absl::Status Finish(Posted&, Deadline, std::string_view) override { return absl::OkStatus(); }
  bool Probe(int) override { return false; }
  absl::StatusOr<std::unique_ptr<Communicator>> Split(int, int, Deadline) override {
    return MakeSoloCommunicator();
  }

  std::string HostOf(int) const override {
    std::array<char, 256> name{};
    return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
  }

 private:
  static absl::Status Nobody(int rank) {
    TRI_CHECK(false) << "a group of one has no rank " << rank << " to talk to";
    return absl::InternalError("unreachable");
  }
};

}  // namespace

std::unique_ptr<Communicator> MakeSoloCommunicator() {
  return std::make_unique<SoloCommunicator>();
}

}  // namespace trireme
