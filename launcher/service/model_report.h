// What is served, and by which groups, as clients and `trireme status` read it.
#pragma once

#include "launcher/coordinator/dispatcher.h"
#include "runtime/text/chat_format.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

// chat_format may be null: conversations are not supported.
v1::Model ReportModel(const Dispatcher& dispatcher, const ChatFormat* chat_format);

}  // namespace trireme
