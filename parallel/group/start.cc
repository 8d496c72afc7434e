#include "parallel/group/start.h"

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using nlohmann::json;

constexpr int kCollector = 0;
constexpr size_t kMaxVoteBytes = size_t{1} << 20;

std::span<const std::byte> BytesOf(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string EncodeVote(const StartVote& vote) {
  json identities = json::array();
  for (const StartIdentity& identity : vote.identities) {
    identities.push_back({identity.what, identity.value});
  }
  const json encoded = {{"refusal", vote.ready.ok() ? "" : vote.ready.ToString()},
                        {"identities", identities}};
  return encoded.dump(-1, ' ', true, json::error_handler_t::replace);
}

// Why the vote of `who` stands against a start; nothing when it agrees.
std::vector<std::string> Objections(const std::string& who, const std::string& encoded,
                                    const StartVote& expected) {
  const json vote = json::parse(encoded, nullptr, /*allow_exceptions=*/false);
  const bool readable = vote.is_object() && vote.contains("refusal") &&
                        vote["refusal"].is_string() && vote.contains("identities") &&
                        vote["identities"].is_array();
  if (!readable) return {who + " sent a vote that cannot be read (another build of trireme?)"};
  std::vector<std::string> objections;
  if (const auto refusal = vote["refusal"].get<std::string>(); !refusal.empty()) {
    objections.push_back(absl::StrFormat("%s refused: %s", who, refusal));
    return objections;
  }
  const json& identities = vote["identities"];
  for (size_t i = 0; i < expected.identities.size(); ++i) {
    const StartIdentity& mine = expected.identities[i];
    const json pair = i < identities.size() ? identities[i] : json();
    const bool known =
        pair.is_array() && pair.size() == 2 && pair[0] == mine.what && pair[1].is_string();
    const std::string theirs = known ? pair[1].get<std::string>() : "nothing";
    if (known && theirs == mine.value) continue;
    objections.push_back(
        absl::StrFormat("%s has %s %s, rank 0 has %s", who, mine.what, theirs, mine.value));
  }
  return objections;
}

absl::Status CollectVotes(Communicator& world, const StartVote& vote, Deadline deadline,
                          std::vector<std::string>& objections) {
  if (!vote.ready.ok()) {
    objections.push_back(absl::StrFormat("rank 0 on %s refused: %s", world.HostOf(kCollector),
                                         vote.ready.ToString()));
  }
  for (int rank = 1; rank < world.size(); ++rank) {
    TRI_ASSIGN_OR_RETURN(const std::span<const std::byte> message,
                         world.RecvMessage(rank, kMaxVoteBytes, deadline, "start vote"));
    const std::string who = absl::StrFormat("rank %d on %s", rank, world.HostOf(rank));
    // A refusal of rank 0 says nothing about identities: they may not even be known.
    const StartVote expected = vote.ready.ok() ? vote : StartVote{};
    for (std::string& objection : Objections(who, TextOf(message), expected)) {
      objections.push_back(std::move(objection));
    }
  }
  return absl::OkStatus();
}

absl::Status Verdict(const std::string& objections) {
  if (objections.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError("the group does not start: " + objections);
}

// A word that says who sent it to whom.
uint64_t PairWord(int from, int to) {
  return 0x7472697265000000U | (static_cast<uint64_t>(from) << 12) | static_cast<uint64_t>(to);
}

absl::Status Corrupted(std::string_view what, Communicator& world, int rank) {
  return absl::DataLossError(absl::StrFormat(
      "transport test: %s from rank %d on %s arrived changed", what, rank, world.HostOf(rank)));
}

absl::Status TestPair(Communicator& world, int peer, Deadline deadline) {
  const int self = world.rank();
  const std::array<uint64_t, 1> mine{PairWord(self, peer)};
  std::array<uint64_t, 1> theirs{};
  const auto send = [&] {
    return world.Send(peer, std::as_bytes(std::span(mine)), deadline, "transport test of a pair");
  };
  const auto receive = [&] {
    return world.Recv(peer, std::as_writable_bytes(std::span(theirs)), deadline,
                      "transport test of a pair");
  };
  if (self < peer) {
    TRI_RETURN_IF_ERROR(send());
    TRI_RETURN_IF_ERROR(receive());
  } else {
    TRI_RETURN_IF_ERROR(receive());
    TRI_RETURN_IF_ERROR(send());
  }
  return theirs[0] == PairWord(peer, self) ? absl::OkStatus() : Corrupted("a word", world, peer);
}

absl::Status TestBroadcast(Communicator& world, int root, Deadline deadline) {
  std::array<uint64_t, 1> word{world.rank() == root ? PairWord(root, root) : 0};
  TRI_RETURN_IF_ERROR(world.Broadcast(root, std::as_writable_bytes(std::span(word)), deadline,
                                      "transport test of broadcast"));
  return word[0] == PairWord(root, root) ? absl::OkStatus() : Corrupted("a broadcast", world, root);
}

absl::Status TestStageVerbs(Communicator& stage) {
  const int64_t size = stage.size();
  std::vector<float> sums(64, static_cast<float>(stage.rank() + 1));
  stage.TreeSum(ViewOf(std::span(sums), {1, 64}), "transport test of tree sum");
  TRI_RETURN_IF_ERROR(stage.status());
  for (const float sum : sums) {
    if (sum != static_cast<float>(size * (size + 1) / 2)) {
      return absl::DataLossError("transport test: a tree sum of the stage is wrong");
    }
  }
  const std::vector<float> mine(3, static_cast<float>(stage.rank()));
  const std::vector<int64_t> widths(static_cast<size_t>(size), 3);
  std::vector<float> all(static_cast<size_t>(3 * size));
  stage.AllGather(ViewOf(std::span(mine), {1, 3}), widths, ViewOf(std::span(all), {1, 3 * size}),
                  "transport test of all gather");
  TRI_RETURN_IF_ERROR(stage.status());
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i] != static_cast<float>(i / 3)) {
      return absl::DataLossError("transport test: a gather of the stage is wrong");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AgreeToStart(Communicator& world, const StartVote& vote, Deadline deadline) {
  if (world.rank() != kCollector) {
    TRI_RETURN_IF_ERROR(
        world.SendMessage(kCollector, BytesOf(EncodeVote(vote)), deadline, "start vote"));
    TRI_ASSIGN_OR_RETURN(const std::span<const std::byte> verdict,
                         world.RecvMessage(kCollector, kMaxVoteBytes, deadline, "start verdict"));
    return Verdict(TextOf(verdict));
  }
  std::vector<std::string> objections;
  TRI_RETURN_IF_ERROR(CollectVotes(world, vote, deadline, objections));
  const std::string verdict = absl::StrJoin(objections, "; ").substr(0, kMaxVoteBytes);
  for (int rank = 1; rank < world.size(); ++rank) {
    TRI_RETURN_IF_ERROR(world.SendMessage(rank, BytesOf(verdict), deadline, "start verdict"));
  }
  return Verdict(verdict);
}

absl::Status TestTransport(Communicator& world, Communicator& stage, Deadline deadline) {
  // Each rank meets its peers in the same global order of pairs, so none waits for one that waits
  // for it.
  for (int peer = 0; peer < world.size(); ++peer) {
    if (peer != world.rank()) TRI_RETURN_IF_ERROR(TestPair(world, peer, deadline));
  }
  for (int root = 0; root < world.size(); ++root) {
    TRI_RETURN_IF_ERROR(TestBroadcast(world, root, deadline));
  }
  stage.SetStep(0, deadline);
  TRI_RETURN_IF_ERROR(TestStageVerbs(stage));
  return world.Barrier(deadline, "transport test of barrier");
}

}  // namespace trireme
