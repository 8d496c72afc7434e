#include "parallel/group/group_socket.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr uint32_t kMagic = 0x31495254;  // "TRI1"
constexpr int kReceiveBufferBytes = 1 << 20;

// Before the payload. Ranks of a group run one build on one kind of machine, so its layout is the
// wire's.
struct Header {
  uint32_t magic = kMagic;
  int32_t from = 0;
  std::array<uint8_t, 16> token{};
};
static_assert(sizeof(Header) == 24);

absl::Status SystemError(std::string_view call, std::string_view detail) {
  return absl::UnavailableError(absl::StrFormat("%s: %s: %s", call, detail, std::strerror(errno)));
}

// values[rank()] of every rank, on every rank.
template <typename T>
absl::Status Share(Communicator& world, std::vector<T>& values, Deadline deadline) {
  for (int root = 0; root < world.size(); ++root) {
    TRI_RETURN_IF_ERROR(world.Broadcast(
        root, std::as_writable_bytes(std::span(&values[static_cast<size_t>(root)], 1)), deadline,
        "addresses of the group"));
  }
  return absl::OkStatus();
}

// The address this rank is to bind. Errors are this rank's own: the caller shares them.
absl::StatusOr<NetAddress> LocalAddress(const GroupSocketOptions& options,
                                        const std::vector<NetSeat>& seats, size_t me) {
  if (!options.address.empty()) return ParseNetAddress(options.address);
  if (const auto chosen = ChooseAddress(seats, me); chosen.has_value()) return *chosen;
  // No common network: everyone takes the way towards rank 0's machine, and that machine the way
  // out of it.
  const auto peer = std::find_if(seats.begin(), seats.end(), [&](const NetSeat& seat) {
    return seat.machine != seats[me].machine;
  });
  return SourceTowards(peer->addresses.front());
}

absl::StatusOr<int> Bind(NetAddress& address) {
  const int fd = socket(address.family == 6 ? AF_INET6 : AF_INET,
                        SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return SystemError("socket", address.ToString());
  // Best effort: what the system grants is enough for a small group.
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBufferBytes, sizeof(kReceiveBufferBytes));
  const SocketAddress wanted = ToSocketAddress(address);
  sockaddr_storage bound{};
  socklen_t length = sizeof(bound);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&wanted.storage), wanted.length) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
    const absl::Status error = SystemError("bind", address.ToString());
    close(fd);
    return error;
  }
  address.port = FromSocketAddress(bound).port;
  return fd;
}

}  // namespace

GroupSocket::GroupSocket(int fd, int rank, const Token& token)
    : fd_(fd), rank_(rank), token_(token) {}

GroupSocket::~GroupSocket() { close(fd_); }

absl::StatusOr<std::unique_ptr<GroupSocket>> GroupSocket::Open(Communicator& world,
                                                               const GroupSocketOptions& options,
                                                               std::string_view purpose) {
  const Deadline deadline = Deadline::After(options.setup_timeout);
  const auto me = static_cast<size_t>(world.rank());
  const auto ranks = static_cast<size_t>(world.size());

  Token token{};
  if (world.rank() == 0 && getrandom(token.data(), token.size(), 0) != ssize_t{sizeof(token)}) {
    return SystemError("getrandom", "group token");
  }
  TRI_RETURN_IF_ERROR(
      world.Broadcast(0, std::as_writable_bytes(std::span(token)), deadline, "token of the group"));
  std::vector<NetSeat> seats(ranks);
  seats[me] = MyNetSeat();
  TRI_RETURN_IF_ERROR(Share(world, seats, deadline));

  // A rank that cannot bind shares "no address", so that no other waits for it in vain.
  absl::StatusOr<NetAddress> local = LocalAddress(options, seats, me);
  absl::StatusOr<int> fd = local.ok() ? Bind(*local) : absl::StatusOr<int>(local.status());
  std::unique_ptr<GroupSocket> opened;
  if (fd.ok()) opened = absl::WrapUnique(new GroupSocket(*fd, world.rank(), token));
  std::vector<NetAddress> peers(ranks);
  if (fd.ok()) peers[me] = *local;
  TRI_RETURN_IF_ERROR(Share(world, peers, deadline));
  if (!fd.ok()) return fd.status();
  for (size_t rank = 0; rank < ranks; ++rank) {
    const std::string host = world.HostOf(static_cast<int>(rank));
    if (peers[rank].family != local->family) {
      return absl::UnavailableError(absl::StrFormat(
          "rank %d on host %s has no address for the %s socket that rank %d (%s) "
          "could reach: it has %s",
          rank, host, std::string(purpose), me, local->ToString(), peers[rank].ToString()));
    }
    opened->targets_.push_back(ToSocketAddress(peers[rank]));
    opened->hosts_.push_back(host);
  }
  opened->peers_ = std::move(peers);
  LogDebug("group socket", {{"purpose", purpose}, {"address", opened->address().ToString()}});
  return opened;
}

void GroupSocket::Send(int to, std::span<const std::byte> payload) const {
  TRI_CHECK_LE(payload.size(), kMaxPayload);
  const Header header{.magic = kMagic, .from = rank_, .token = token_};
  std::array<std::byte, sizeof(Header) + kMaxPayload> datagram;
  std::memcpy(datagram.data(), &header, sizeof(header));
  if (!payload.empty()) {
    std::memcpy(datagram.data() + sizeof(header), payload.data(), payload.size());
  }
  const SocketAddress& target = targets_[static_cast<size_t>(to)];
  // A lost datagram is part of the contract; so is one that could not be sent.
  [[maybe_unused]] const ssize_t sent =
      sendto(fd_, datagram.data(), sizeof(header) + payload.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
             reinterpret_cast<const sockaddr*>(&target.storage), target.length);
}

std::optional<GroupSocket::Received> GroupSocket::Receive(std::span<std::byte> payload) {
  TRI_CHECK_LE(payload.size(), kMaxPayload);
  while (true) {
    std::array<std::byte, sizeof(Header) + kMaxPayload> datagram;
    sockaddr_storage source{};
    socklen_t length = sizeof(source);
    // MSG_TRUNC: the size of the whole datagram, even when it did not fit.
    const ssize_t bytes = recvfrom(fd_, datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_TRUNC,
                                   reinterpret_cast<sockaddr*>(&source), &length);
    if (bytes < 0) {
      // An unreachable peer's port answers with an error that is not ours to read.
      if (errno == EINTR || errno == ECONNREFUSED) continue;
      return std::nullopt;
    }
    Header header;
    const bool sized = static_cast<size_t>(bytes) == sizeof(Header) + payload.size();
    if (sized) std::memcpy(&header, datagram.data(), sizeof(header));
    const bool ours = sized && header.magic == kMagic && header.token == token_ &&
                      header.from >= 0 && header.from < size() && header.from != rank_;
    const NetAddress from = FromSocketAddress(source);
    if (!ours || !from.SameAddress(peers_[static_cast<size_t>(header.from)])) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    if (!payload.empty()) {
      std::memcpy(payload.data(), datagram.data() + sizeof(header), payload.size());
    }
    return Received{header.from, payload.size()};
  }
}

bool GroupSocket::AwaitReadable(Deadline deadline) const {
  pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
  const auto left = std::min<std::chrono::nanoseconds>(deadline.Left(), std::chrono::hours(1));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
  return ppoll(&waiting, 1, &timeout, nullptr) > 0;
}

}  // namespace trireme
