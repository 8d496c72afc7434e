#include "launcher/auth/scope.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

TEST(ScopeTest, NamesAndScopesAgree) {
  for (const Scope scope : {Scope::kInfer, Scope::kMetrics, Scope::kAdmin}) {
    EXPECT_EQ(ScopeNamed(NameOfScope(scope)), scope);
  }
  for (const char* name : {"", "open", "join", "Infer", "infer "}) {
    EXPECT_EQ(ScopeNamed(name), std::nullopt) << name;
  }
}

TEST(ScopeTest, WhatIsNotKnownAsksForTheMost) {
  EXPECT_EQ(ScopeOfMethod("/trireme.v1.Inference/Chat"), Scope::kInfer);
  EXPECT_EQ(ScopeOfMethod("/trireme.v1.Admin/Trace"), Scope::kAdmin);
  EXPECT_EQ(ScopeOfMethod("/trireme.v1.Admin/Metrics"), Scope::kMetrics);
  EXPECT_EQ(ScopeOfMethod("/trireme.v1.GroupLink/Attach"), Scope::kJoin);
  for (const char* path : {"", "/", "trireme.v1.Inference/Chat", "/trireme.v1.InferenceX/Chat",
                           "/trireme.v2.Inference/Chat", "/TRIREME.V1.Inference/Chat"}) {
    EXPECT_EQ(ScopeOfMethod(path), Scope::kAdmin) << path;
  }
}

TEST(ScopeTest, ASetHoldsWhatWasAddedAndWhatIsOpen) {
  ScopeSet set;
  EXPECT_TRUE(set.Has(Scope::kOpen));
  EXPECT_FALSE(set.Has(Scope::kInfer));
  set.Add(Scope::kInfer);
  EXPECT_TRUE(set.Has(Scope::kInfer));
  EXPECT_FALSE(set.Has(Scope::kAdmin));
}

}  // namespace
}  // namespace trireme
