// The metrics of a coordinator and its groups as the text that Prometheus scrapes (exposition
// format 0.0.4, Content-Type kMetricsContentType).
#pragma once

#include <string>

#include "launcher/coordinator/dispatcher.h"

namespace trireme {

inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";

std::string MetricsPage(const Dispatcher& dispatcher);

}  // namespace trireme
