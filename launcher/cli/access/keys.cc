// trireme keys: makes, revokes and lists the API keys of a coordinator.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "launcher/auth/key_file.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"

namespace trireme {
namespace {

constexpr int64_t kSecondsPerDay = 86'400;
constexpr int64_t kMostDays = 36'500;

struct KeysFlags {
  std::string file;
  v1::ApiKey key;
  std::string tenant;
  std::vector<std::string> scopes = {"infer"};
  double expires_days = 0;
  std::string revoked_id;
};

int64_t UnixSeconds() { return absl::ToUnixSeconds(absl::Now()); }

std::string Date(int64_t unix_seconds) {
  return unix_seconds == 0
             ? "never"
             : absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(unix_seconds),
                                absl::UTCTimeZone());
}

std::string Limit(int64_t limit) { return limit == 0 ? "-" : absl::StrFormat("%d", limit); }

void AddFile(CLI::App& app, KeysFlags& flags) {
  app.add_option("--file", flags.file, "the file of keys (`auth.keys_file`)")->required();
}

void AddCreateFlags(CLI::App& app, KeysFlags& flags) {
  AddFile(app, flags);
  app.add_option("--tenant", flags.tenant, "whose requests they are")->required();
  app.add_option_function<std::string>(
      "--id", [&](const std::string& id) { flags.key.set_id(id); },
      "appears in logs (default: drawn)");
  app.add_option("--scope", flags.scopes, "infer, metrics, admin; may be repeated")
      ->check(CLI::IsMember({"infer", "metrics", "admin"}))
      ->capture_default_str();
  app.add_option("--expires-days", flags.expires_days, "from now (default: never)")
      ->check(CLI::Range(0.0, static_cast<double>(kMostDays)));
  app.add_option_function<int64_t>(
         "--tokens-per-minute", [&](int64_t most) { flags.key.set_tokens_per_minute(most); },
         "of prompts and completions (default: no limit)")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000'000'000}));
  app.add_option_function<int64_t>(
         "--max-concurrent", [&](int64_t most) { flags.key.set_max_concurrent(most); },
         "completions at a time (default: no limit)")
      ->check(CLI::Range(0, 1'000'000));
}

int Create(KeysFlags& flags) {
  flags.key.set_tenant(flags.tenant);
  flags.key.mutable_scopes()->Assign(flags.scopes.begin(), flags.scopes.end());
  flags.key.set_created_s(UnixSeconds());
  if (flags.expires_days > 0) {
    flags.key.set_expires_s(UnixSeconds() +
                            static_cast<int64_t>(flags.expires_days * kSecondsPerDay));
  }
  const auto key = CreateKey(flags.file, flags.key);
  if (!key.ok()) return FailCommand("keys create", key.status(), "trireme keys create --help");
  absl::PrintF("%s\n", *key);
  absl::FPrintF(stderr, "That is the key, shown this once: keep it where only its user reads.\n");
  return kExitOk;
}

int Revoke(const KeysFlags& flags) {
  const absl::Status revoked = RevokeKey(flags.file, flags.revoked_id);
  return revoked.ok() ? kExitOk : FailCommand("keys revoke", revoked, "trireme keys list");
}

int List(const KeysFlags& flags) {
  const auto file = ReadKeyFile(flags.file);
  if (!file.ok()) return FailCommand("keys list", file.status(), "trireme keys --help");
  absl::PrintF("%-14s %-8s %-16s %-20s %-21s %-12s %s\n", "ID", "STATE", "TENANT", "SCOPES",
               "EXPIRES", "TOKENS/MIN", "CONCURRENT");
  for (const v1::ApiKey& key : file->keys()) {
    const bool expired = key.expires_s() != 0 && key.expires_s() <= UnixSeconds();
    absl::PrintF("%-14s %-8s %-16s %-20s %-21s %-12s %s\n", key.id(),
                 key.revoked() ? "revoked"
                 : expired     ? "expired"
                               : "valid",
                 key.tenant(), absl::StrJoin(key.scopes(), ","), Date(key.expires_s()),
                 Limit(key.tokens_per_minute()), Limit(key.max_concurrent()));
  }
  return kExitOk;
}

}  // namespace

int RunKeys(int argc, char** argv) {
  CLI::App app(
      "The API keys of a coordinator: a file of salted hashes, which it reads again when "
      "it changes.",
      "trireme keys");
  KeysFlags flags;
  CLI::App* const create = app.add_subcommand("create", "make a key and print it, once");
  AddCreateFlags(*create, flags);
  CLI::App* const revoke = app.add_subcommand("revoke", "refuse a key from now on");
  AddFile(*revoke, flags);
  revoke->add_option("ID", flags.revoked_id, "of the key")->required();
  CLI::App* const list = app.add_subcommand("list", "what keys there are, without the keys");
  AddFile(*list, flags);
  app.require_subcommand(1);
  app.footer(Examples(
      "trireme keys create --file keys.json --tenant acme --tokens-per-minute 100000 > acme.key",
      "trireme keys revoke --file keys.json 3f9a0c12d4e5"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;
  if (create->parsed()) return Create(flags);
  if (revoke->parsed()) return Revoke(flags);
  return List(flags);
}

}  // namespace trireme
