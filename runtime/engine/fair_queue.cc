#include "runtime/engine/fair_queue.h"

#include <algorithm>
#include <limits>

#include "runtime/base/check.h"

namespace trireme {

void FairQueue::Push(Entry entry) {
  auto [found, fresh] = tenants_.try_emplace(entry.tenant);
  if (fresh) {
    found->second = round_.insert(round_.end(), Tenant{.name = entry.tenant, .waiting = {}});
  }
  const Order order{entry.rank, ++arrivals_};
  const bool added = places_.emplace(entry.id, Place{found->second, order}).second;
  TRI_CHECK(added) << "request " << entry.id << " waits already";
  found->second->waiting.emplace(order, std::move(entry));
}

const FairQueue::Entry& FairQueue::Front() {
  TRI_CHECK(!round_.empty());
  const auto served = [this](const Tenant& tenant) {
    return tenant.credit >= HeadOf(tenant).tokens;
  };
  for (size_t passed = 0; !served(round_.front()); ++passed) {
    if (passed == round_.size()) {
      // Nobody in a whole round: as many more at once as nobody would be served in.
      int64_t rounds = std::numeric_limits<int64_t>::max();
      for (const Tenant& tenant : round_) {
        rounds = std::min(rounds, (HeadOf(tenant).tokens - tenant.credit - 1) / quantum_);
      }
      for (Tenant& tenant : round_) tenant.credit += std::max<int64_t>(rounds, 0) * quantum_;
      passed = 0;
      if (served(round_.front())) break;
    }
    round_.front().credit += quantum_;
    round_.splice(round_.end(), round_, round_.begin());
  }
  return HeadOf(round_.front());
}

void FairQueue::Pop() {
  const Entry& entry = Front();
  round_.front().credit -= entry.tokens;
  Erase(places_.find(entry.id));
}

bool FairQueue::Remove(uint64_t id) {
  const auto place = places_.find(id);
  if (place == places_.end()) return false;
  Erase(place);
  return true;
}

void FairQueue::Erase(std::unordered_map<uint64_t, Place>::iterator place) {
  const Round::iterator tenant = place->second.tenant;
  tenant->waiting.erase(place->second.order);
  places_.erase(place);
  if (!tenant->waiting.empty()) return;
  // Who does not wait saves nothing up.
  tenants_.erase(tenant->name);
  round_.erase(tenant);
}

void FairQueue::GiveBack(const std::string& tenant, int64_t tokens) {
  const auto found = tenants_.find(tenant);
  if (found != tenants_.end()) found->second->credit += tokens;
}

}  // namespace trireme
