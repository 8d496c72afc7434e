// Who asks, as far as the rest of the coordinator must know.
#pragma once

#include <memory>
#include <string>

#include "launcher/auth/key_quota.h"
#include "launcher/auth/scope.h"

namespace trireme {

// All of it empty where nobody is asked for a key.
struct Principal {
  std::string key_id;
  std::string tenant;
  ScopeSet scopes;
  std::shared_ptr<KeyQuota> quota;
};

}  // namespace trireme
