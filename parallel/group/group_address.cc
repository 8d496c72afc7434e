#include "parallel/group/group_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

bool IsLoopback(const NetAddress& address) {
  if (address.family == 4) return address.bytes[0] == 127;
  std::array<uint8_t, 16> one{};
  one[15] = 1;
  return address.family == 6 && address.bytes == one;
}

bool IsLinkLocal(const NetAddress& address) {
  if (address.family == 4) return address.bytes[0] == 169 && address.bytes[1] == 254;
  return address.family == 6 && address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

uint8_t PrefixBits(const sockaddr* mask) {
  if (mask == nullptr) return 0;
  sockaddr_storage storage{};
  std::memcpy(&storage, mask,
              mask->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
  int bits = 0;
  for (const uint8_t byte : FromSocketAddress(storage).bytes) bits += std::popcount(byte);
  return static_cast<uint8_t>(bits);
}

// The usable addresses of this machine's interfaces, IPv4 first.
std::vector<NetAddress> InterfaceAddresses() {
  std::vector<NetAddress> addresses;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return addresses;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || (entry->ifa_flags & IFF_UP) == 0) continue;
    const int family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, entry->ifa_addr,
                family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    NetAddress address = FromSocketAddress(storage);
    address.port = 0;
    address.prefix_bits = PrefixBits(entry->ifa_netmask);
    if (!IsLoopback(address) && !IsLinkLocal(address)) addresses.push_back(address);
  }
  freeifaddrs(list);
  std::stable_sort(addresses.begin(), addresses.end(),
                   [](const NetAddress& a, const NetAddress& b) { return a.family < b.family; });
  return addresses;
}

// The address of `seat` on the network of `network`, if it has one.
const NetAddress* OnNetwork(const NetSeat& seat, const NetAddress& network) {
  for (const NetAddress& address : seat.addresses) {
    if (network.SharesNetwork(address)) return &address;
  }
  return nullptr;
}

// Whether every rank is on the network of `network`, with an address of its machine's own: a
// container bridge, say, has the same address on every machine and joins none of them.
bool JoinsAll(std::span<const NetSeat> seats, const NetAddress& network) {
  for (size_t i = 0; i < seats.size(); ++i) {
    const NetAddress* mine = OnNetwork(seats[i], network);
    if (mine == nullptr) return false;
    for (size_t j = 0; j < i; ++j) {
      const bool same_machine = seats[i].machine == seats[j].machine;
      if (!same_machine && mine->SameAddress(*OnNetwork(seats[j], network))) return false;
    }
  }
  return true;
}

}  // namespace

std::string NetAddress::ToString() const {
  if (family == 0) return "no address";
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(family == 4 ? AF_INET : AF_INET6, bytes.data(), text.data(), text.size());
  if (port == 0) return text.data();
  return family == 4 ? absl::StrFormat("%s:%d", text.data(), port)
                     : absl::StrFormat("[%s]:%d", text.data(), port);
}

bool NetAddress::SharesNetwork(const NetAddress& other) const {
  if (family == 0 || family != other.family) return false;
  for (int bit = 0; bit < prefix_bits; ++bit) {
    const auto byte = static_cast<size_t>(bit / 8);
    const int mask = 0x80 >> (bit % 8);
    if (((bytes[byte] ^ other.bytes[byte]) & mask) != 0) return false;
  }
  return true;
}

absl::StatusOr<NetAddress> ParseNetAddress(const std::string& text) {
  NetAddress address;
  if (inet_pton(AF_INET, text.c_str(), address.bytes.data()) == 1) {
    address.family = 4;
  } else if (inet_pton(AF_INET6, text.c_str(), address.bytes.data()) == 1) {
    address.family = 6;
  } else {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected an IPv4 or IPv6 address of this machine; got \"%s\"", text));
  }
  return address;
}

NetAddress LoopbackAddress() {
  NetAddress address;
  address.family = 4;
  address.prefix_bits = 8;
  address.bytes = {127, 0, 0, 1};
  return address;
}

SocketAddress ToSocketAddress(const NetAddress& address) {
  SocketAddress result;
  if (address.family == 4) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(address.port);
    std::memcpy(&in.sin_addr, address.bytes.data(), sizeof(in.sin_addr));
    std::memcpy(&result.storage, &in, sizeof(in));
    result.length = sizeof(in);
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(address.port);
    std::memcpy(&in.sin6_addr, address.bytes.data(), sizeof(in.sin6_addr));
    std::memcpy(&result.storage, &in, sizeof(in));
    result.length = sizeof(in);
  }
  return result;
}

NetAddress FromSocketAddress(const sockaddr_storage& storage) {
  NetAddress address;
  if (storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &storage, sizeof(in));
    address.family = 4;
    address.port = ntohs(in.sin_port);
    std::memcpy(address.bytes.data(), &in.sin_addr, sizeof(in.sin_addr));
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &storage, sizeof(in));
    address.family = 6;
    address.port = ntohs(in.sin6_port);
    std::memcpy(address.bytes.data(), &in.sin6_addr, sizeof(in.sin6_addr));
  }
  return address;
}

NetSeat MyNetSeat() {
  NetSeat seat;
  if (FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "re"); file != nullptr) {
    [[maybe_unused]] const size_t read = std::fread(seat.machine.data(), 1, 36, file);
    std::fclose(file);
  }
  [[maybe_unused]] const ssize_t length =
      readlink("/proc/self/ns/net", seat.machine.data() + 37, seat.machine.size() - 38);
  const std::vector<NetAddress> addresses = InterfaceAddresses();
  std::copy_n(addresses.begin(), std::min(addresses.size(), NetSeat::kMostAddresses),
              seat.addresses.begin());
  return seat;
}

std::optional<NetAddress> ChooseAddress(std::span<const NetSeat> seats, size_t me) {
  const bool one_machine = std::all_of(seats.begin(), seats.end(), [&](const NetSeat& seat) {
    return seat.machine == seats.front().machine;
  });
  if (one_machine) return LoopbackAddress();
  for (const NetAddress& network : seats.front().addresses) {
    if (network.family != 0 && JoinsAll(seats, network)) return *OnNetwork(seats[me], network);
  }
  return std::nullopt;
}

absl::StatusOr<NetAddress> SourceTowards(const NetAddress& peer) {
  const int fd = socket(peer.family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::InternalError(absl::StrFormat("socket: %s", std::strerror(errno)));
  NetAddress target = peer;
  if (target.port == 0)
    target.port = 9;  // nothing is sent: connecting a datagram socket only asks for the route
  const SocketAddress address = ToSocketAddress(target);
  sockaddr_storage source{};
  socklen_t length = sizeof(source);
  const bool routed =
      peer.family != 0 &&
      connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&source), &length) == 0;
  close(fd);
  if (!routed) {
    return absl::UnavailableError(
        absl::StrFormat("this machine has no route to a peer on another one (%s); give the address "
                        "of the group's network",
                        peer.ToString()));
  }
  NetAddress found = FromSocketAddress(source);
  found.port = 0;
  if (IsLoopback(found)) {
    return absl::UnavailableError(absl::StrFormat(
        "a peer on another machine (%s) cannot be reached from loopback; give the address of the "
        "group's network",
        peer.ToString()));
  }
  return found;
}

}  // namespace trireme
