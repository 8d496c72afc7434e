// The head of a request as the parser leaves it, checked for what the parser lets pass: forms that
// two readers could cut into messages differently (request smuggling) are refused, whatever they
// were meant to say.
#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/system/error_code.hpp>
#include <optional>

#include "launcher/gateway/http/message.h"

namespace trireme {

using RawHead = boost::beast::http::header<true, boost::beast::http::fields>;

HttpRequest ReadHead(const RawHead& head);

// Why the head cannot be accepted.
std::optional<HttpResponse> RefuseHead(const RawHead& head, const HttpRequest& request);

// What the parser's error is to the client.
HttpResponse RefusalOf(const boost::system::error_code& error);

}  // namespace trireme
