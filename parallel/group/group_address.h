// Which address a rank's datagrams come from. Ranks on one machine talk over loopback; others over
// a network that all of them are on; failing that, over the address that the kernel itself would
// send from. A rank binds that one address and no other, so nothing off the group's network can
// reach its sockets.
#pragma once

#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

// An IPv4 or IPv6 address, or none. Trivially copyable, as ranks exchange it.
struct NetAddress {
  uint8_t family = 0;       // 4, 6, or 0 for none
  uint8_t prefix_bits = 0;  // of its network
  uint16_t port = 0;
  std::array<uint8_t, 16> bytes{};  // network order; the first 4 for IPv4

  std::string ToString() const;  // "10.0.0.2:4100", without the port while it is 0
  bool SameAddress(const NetAddress& other) const {
    return family == other.family && bytes == other.bytes;
  }
  // Whether `other` lies on this address's network.
  bool SharesNetwork(const NetAddress& other) const;
};
absl::StatusOr<NetAddress> ParseNetAddress(const std::string& text);
NetAddress LoopbackAddress();

// For the socket calls.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};
SocketAddress ToSocketAddress(const NetAddress& address);
NetAddress FromSocketAddress(const sockaddr_storage& storage);

// What a rank tells the others before any address is chosen.
struct NetSeat {
  static constexpr size_t kMostAddresses = 8;
  // Equal where loopback works: the kernel's boot id and the network namespace.
  std::array<char, 96> machine{};
  std::array<NetAddress, kMostAddresses> addresses{};  // IPv4 first; no loopback, no link-local
};
NetSeat MyNetSeat();

// The address that rank `me` binds. The answer for one rank fits the others' (each computes it from
// the same seats). nullopt: the ranks share no network, and the kernel must be asked
// (SourceTowards).
std::optional<NetAddress> ChooseAddress(std::span<const NetSeat> seats, size_t me);

// The address this machine would send from to reach `peer`. An error when there is no route, or
// only loopback.
absl::StatusOr<NetAddress> SourceTowards(const NetAddress& peer);

}  // namespace trireme
