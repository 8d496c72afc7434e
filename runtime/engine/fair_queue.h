// Requests that wait to be admitted, and who is next.
//
// Between tenants: deficit round robin on tokens (Shreedhar and Varghese, 1995). Each tenant with
// requests waiting gets a quantum of tokens a round and is served while its credit lasts for the
// tokens that its next request may take; what a request leaves unused is given back. So over time
// tenants get equal shares of tokens, whatever the number and the size of their requests.
//
// Of one tenant: by priority with ageing. A request waits as if it had come `ageing_ms` later for
// each level of priority above 0 (earlier below): lower levels go first, but never more than so
// much, so nobody starves. The order of two requests never changes, so no clock is needed.
//
// INV-FAIR-1: while two tenants wait, the tokens charged to them differ by no more than a quantum
// and a largest request each.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <unordered_map>

namespace trireme {

class FairQueue {
 public:
  struct Entry {
    uint64_t id = 0;
    std::string tenant;
    int64_t rank = 0;    // as RankOf says
    int64_t tokens = 0;  // that it may take, >= 1
  };

  explicit FairQueue(int64_t quantum) : quantum_(quantum) {}

  static int64_t RankOf(int64_t arrival_ms, int32_t priority, int64_t ageing_ms) {
    return arrival_ms + priority * ageing_ms;
  }

  void Push(Entry entry);
  // The next to be served; the queue must not be empty. The same again until something changes.
  const Entry& Front();
  // Takes Front() out and charges its tenant.
  void Pop();
  // False when it does not wait here.
  bool Remove(uint64_t id);
  // A request of the tenant left so many of its tokens unused.
  void GiveBack(const std::string& tenant, int64_t tokens);

  int64_t size() const { return static_cast<int64_t>(places_.size()); }
  bool empty() const { return places_.empty(); }

 private:
  using Order = std::pair<int64_t, uint64_t>;  // rank, then order of arrival
  struct Tenant {
    std::string name;
    int64_t credit = 0;
    std::map<Order, Entry> waiting;  // never empty
  };
  using Round = std::list<Tenant>;
  struct Place {
    Round::iterator tenant;
    Order order;
  };

  const Entry& HeadOf(const Tenant& tenant) const { return tenant.waiting.begin()->second; }
  void Erase(std::unordered_map<uint64_t, Place>::iterator place);

  const int64_t quantum_;
  uint64_t arrivals_ = 0;
  Round round_;  // tenants with something waiting, whose turn it is first
  std::unordered_map<std::string, Round::iterator> tenants_;
  std::unordered_map<uint64_t, Place> places_;
};

}  // namespace trireme
