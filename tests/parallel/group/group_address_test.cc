#include "parallel/group/group_address.h"

#include <gmock/gmock.h>

#include <cstring>

#include "runtime/base/check.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

NetAddress Address(const std::string& text, int prefix_bits) {
  auto address = ParseNetAddress(text);
  TRI_CHECK(address.ok());
  address->prefix_bits = static_cast<uint8_t>(prefix_bits);
  return *address;
}

NetSeat Seat(const char* machine, std::initializer_list<NetAddress> addresses) {
  NetSeat seat;
  std::strncpy(seat.machine.data(), machine, seat.machine.size() - 1);
  std::copy(addresses.begin(), addresses.end(), seat.addresses.begin());
  return seat;
}

std::string Chosen(const std::vector<NetSeat>& seats, size_t me) {
  const auto address = ChooseAddress(seats, me);
  return address.has_value() ? address->ToString() : "ask the kernel";
}

TEST(NetAddress, SharesANetworkByItsPrefix) {
  const NetAddress mine = Address("10.1.2.3", 22);
  EXPECT_TRUE(mine.SharesNetwork(Address("10.1.3.250", 22)));
  EXPECT_FALSE(mine.SharesNetwork(Address("10.1.4.1", 22)));
  EXPECT_FALSE(mine.SharesNetwork(Address("fd00::1", 64)));
  EXPECT_TRUE(Address("fd00::1", 64).SharesNetwork(Address("fd00::ff:1", 64)));
  EXPECT_FALSE(NetAddress{}.SharesNetwork(NetAddress{}));
}

TEST(NetAddress, SurvivesTheSocketForm) {
  for (const char* text : {"192.0.2.7", "2001:db8::42"}) {
    NetAddress address = Address(text, 0);
    address.port = 4711;
    const NetAddress back = FromSocketAddress(ToSocketAddress(address).storage);
    EXPECT_EQ(back.ToString(), address.ToString());
    EXPECT_THAT(back.ToString(), HasSubstr("4711"));
  }
}

TEST(NetAddress, RefusesTextThatIsNone) {
  for (const char* text : {"", "localhost", "10.0.0", "10.0.0.256", "10.0.0.1:80"}) {
    EXPECT_THAT(ParseNetAddress(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("IPv4 or IPv6")));
  }
}

TEST(ChooseAddress, TakesLoopbackOnOneMachine) {
  const std::vector<NetSeat> seats = {Seat("a", {Address("10.0.0.1", 24)}), Seat("a", {})};
  EXPECT_EQ(Chosen(seats, 0), "127.0.0.1");
  EXPECT_EQ(Chosen(seats, 1), "127.0.0.1");
}

TEST(ChooseAddress, TakesTheNetworkThatAllShare) {
  const std::vector<NetSeat> seats = {
      Seat("a", {Address("192.168.1.5", 24), Address("10.0.0.1", 24)}),
      Seat("b", {Address("10.0.0.2", 24), Address("192.168.7.5", 24)}),
      Seat("b", {Address("10.0.0.2", 24), Address("192.168.7.5", 24)})};
  EXPECT_EQ(Chosen(seats, 0), "10.0.0.1");
  EXPECT_EQ(Chosen(seats, 1), "10.0.0.2");
  EXPECT_EQ(Chosen(seats, 2), "10.0.0.2");
}

TEST(ChooseAddress, PassesOverABridgeThatEveryMachineHasAlike) {
  const NetAddress bridge = Address("172.17.0.1", 16);
  const std::vector<NetSeat> seats = {Seat("a", {bridge, Address("10.0.0.1", 24)}),
                                      Seat("b", {bridge, Address("10.0.0.2", 24)})};
  EXPECT_EQ(Chosen(seats, 0), "10.0.0.1");
  EXPECT_EQ(Chosen(seats, 1), "10.0.0.2");
}

TEST(ChooseAddress, LeavesRoutedNetworksToTheKernel) {
  const std::vector<NetSeat> seats = {Seat("a", {Address("10.0.0.1", 24)}),
                                      Seat("b", {Address("10.0.9.1", 24)})};
  EXPECT_EQ(Chosen(seats, 0), "ask the kernel");
  EXPECT_EQ(Chosen(seats, 1), "ask the kernel");
}

TEST(SourceTowards, RefusesLoopback) {
  EXPECT_THAT(SourceTowards(LoopbackAddress()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("loopback")));
  EXPECT_THAT(SourceTowards(NetAddress{}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no route")));
}

}  // namespace
}  // namespace trireme
