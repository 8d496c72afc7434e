// The coordinator as a running server: the dispatcher behind gRPC (Inference, GroupLink,
// grpc.health.v1, reflection) and the thread that ticks it.
//
// Health is SERVING, for "" and "trireme.v1.Inference", exactly while a group is ready.
// Without authentication it listens on loopback only unless told otherwise.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/audit/audit_log.h"
#include "launcher/coordinator/dispatcher.h"
#include "launcher/tls/pem_files.h"
#include "runtime/base/deadline.h"
#include "runtime/text/chat_format.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

class Authenticator;

struct ServerOptions {
  std::string listen = "127.0.0.1:50051";  // host:port; port 0 takes a free one
  bool allow_remote = false;               // listen beyond loopback, unauthenticated
  std::string keys_file;                   // API keys that clients must have (auth); "": none
  std::string join_token_file;             // the secret that worker groups must have; "": none
  ServerTlsFiles tls;
  AuditOptions audit;           // file "": no audit log
  bool audit_required = false;  // no request is taken while the audit log cannot be written
  std::string model;            // where the tokenizer is
  std::string model_name;       // "": the last part of `model`
  int max_message_bytes = 4 << 20;  // of one message from a client or a group
  int max_streams = 100;            // open at a time, of one connection
  // A stream whose client does not read is cut off after this.
  std::chrono::milliseconds slow_reader{30'000};
  DispatcherOptions dispatcher;  // model_name, tokenizer_hash, vocabulary, callers_required and
                                 // observer are set by Start
  // Called in order, on the tick thread.
  std::function<void(const CoordinatorEvent&)> observer = [](const CoordinatorEvent&) {};
};

// What another front door (HTTP) serves from; all of it lives as long as the server.
struct ServedParts {
  Dispatcher* dispatcher = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const ChatFormat* chat_format = nullptr;  // nullptr: conversations are not supported
  Authenticator* keys = nullptr;            // nullptr: nobody is asked for a key
};

class Server {
 public:
  // INVALID_ARGUMENT (an address that may not be listened on), NOT_FOUND and others of
  // LoadTokenizer, UNAVAILABLE (the port is taken).
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options);
  ~Server();  // Stop with no time to drain

  // With the port that was taken.
  const std::string& address() const;
  ServedParts parts() const;

  // Streams that were ended because their client did not read.
  int64_t slow_readers_cut_off() const;

  // Refuses new requests, waits until running ones have ended or `drain` passed, tells groups to
  // leave, closes. Idempotent. DEADLINE_EXCEEDED when requests had to be cut off.
  absl::Status Stop(Deadline drain);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whether "host:port" names this machine only. INVALID_ARGUMENT where it is not an address.
absl::StatusOr<bool> IsLoopback(std::string_view listen);

}  // namespace trireme
