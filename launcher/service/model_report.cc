#include "launcher/service/model_report.h"

#include <string>

namespace trireme {
namespace {

void ReportGroup(const GroupSnapshot& snapshot, v1::Group& group) {
  group.set_name(snapshot.name);
  group.set_incarnation(snapshot.incarnation);
  group.set_ready(snapshot.ready);
  group.set_ranks(snapshot.ranks);
  group.set_running(snapshot.running);
  group.set_waiting(snapshot.waiting);
  group.set_steps(snapshot.steps);
  *group.mutable_counters() = snapshot.counters;
  group.mutable_hottest_experts()->Add(snapshot.hottest_experts.begin(),
                                       snapshot.hottest_experts.end());
}

}  // namespace

v1::Model ReportModel(const Dispatcher& dispatcher, const ChatFormat* chat_format) {
  const ServedModel served = dispatcher.served();
  v1::Model model;
  model.set_name(served.name);
  model.set_identity(dispatcher.identity());
  model.set_vocabulary(static_cast<int32_t>(served.vocabulary));
  model.set_max_positions(served.max_positions);
  if (chat_format != nullptr) model.set_chat_format(std::string(chat_format->name()));
  for (const GroupSnapshot& snapshot : dispatcher.Groups()) {
    ReportGroup(snapshot, *model.add_groups());
  }
  return model;
}

}  // namespace trireme
