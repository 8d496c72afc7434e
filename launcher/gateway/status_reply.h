// A status of ours as an HTTP client reads it.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "launcher/gateway/http/exchange.h"
#include "launcher/gateway/http/message.h"
#include "launcher/gateway/openai_request/json_fields.h"

namespace trireme {

// Of an error.
int HttpStatusOf(const absl::Status& error);
HttpResponse RefusalOf(const absl::Status& error);
// As an event of a stream that has begun: after it the stream ends, without [DONE].
std::string ErrorEvent(const absl::Status& error);

void ReplyJson(Exchange& exchange, const Json& body);

}  // namespace trireme
