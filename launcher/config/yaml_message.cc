#include "launcher/config/yaml_message.h"

#include <yaml-cpp/yaml.h>

#include <optional>
#include <set>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/config/settings.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;
constexpr char kCommandLine[] = "command line";

absl::StatusOr<YAML::Node> LoadYaml(std::string_view text, const std::string& where) {
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: expected at most %d bytes; got %d",
                                                      where, kMaxConfigBytes, text.size()));
  }
  try {
    return YAML::Load(std::string(text));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s:%d: not YAML: %s", where, error.mark.line + 1, error.msg));
  }
}

// Fills messages from nodes of one source.
class Parser {
 public:
  // An empty `file` stands for the command line.
  Parser(const std::string& file, SettingSources& sources) : file_(file), sources_(sources) {}

  absl::Status ParseMessage(const YAML::Node& node, const std::string& path, Message& message) {
    if (node.IsNull()) return absl::OkStatus();
    if (!node.IsMap()) return Wrong(node, path, "keys with values");
    const Descriptor& descriptor = *message.GetDescriptor();
    std::set<std::string> seen;
    for (const auto& item : node) {
      if (!item.first.IsScalar()) return Wrong(item.first, path, "a key");
      const std::string& key = item.first.Scalar();
      const std::string key_path = JoinKey(path, key);
      const FieldDescriptor* field = descriptor.FindFieldByName(key);
      if (field == nullptr) {
        return Error(item.first, absl::StrFormat("unknown key '%s'; known here: %s", key_path,
                                                 absl::StrJoin(KnownKeys(descriptor), ", ")));
      }
      if (!seen.insert(key).second) {
        return Error(item.first, absl::StrFormat("key '%s' is given twice", key_path));
      }
      TRI_RETURN_IF_ERROR(ParseField(item.second, key_path, *field, message));
    }
    return absl::OkStatus();
  }

  absl::Status ParseField(const YAML::Node& node, const std::string& path,
                          const FieldDescriptor& field, Message& message) {
    if (!field.is_repeated()) return ParseValue(node, path, field, message);
    if (!node.IsSequence()) return Wrong(node, path, "a list");
    const v1::Setting& setting = SettingOf(field);
    if (setting.has_max() && static_cast<double>(node.size()) > setting.max()) {
      return Error(node, absl::StrFormat("%s: expected at most %.0f entries; got %d", path,
                                         setting.max(), node.size()));
    }
    message.GetReflection()->ClearField(&message, &field);
    sources_[path] = Where(node);
    for (size_t i = 0; i < node.size(); ++i) {
      TRI_RETURN_IF_ERROR(ParseValue(node[i], absl::StrFormat("%s[%d]", path, i), field, message));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ParseValue(const YAML::Node& node, const std::string& path,
                          const FieldDescriptor& field, Message& message) {
    if (IsMessage(field)) {
      const Reflection& reflection = *message.GetReflection();
      Message* inner = field.is_repeated() ? reflection.AddMessage(&message, &field)
                                           : reflection.MutableMessage(&message, &field);
      return ParseMessage(node, path, *inner);
    }
    if (!node.IsScalar() || !StoreScalar(node.Scalar(), field, message)) {
      return Wrong(node, path, Expected(field));
    }
    sources_[path] = Where(node);
    return absl::OkStatus();
  }

  std::string Where(const YAML::Node& node) const {
    if (file_.empty()) return kCommandLine;
    return absl::StrFormat("%s:%d", file_, node.Mark().line + 1);
  }
  absl::Status Error(const YAML::Node& node, std::string_view what) const {
    return absl::InvalidArgumentError(absl::StrFormat("%s: %s", Where(node), what));
  }
  absl::Status Wrong(const YAML::Node& node, const std::string& path,
                     std::string_view expected) const {
    const std::string found = node.IsScalar()     ? absl::StrFormat("'%s'", node.Scalar())
                              : node.IsSequence() ? "a list"
                              : node.IsMap()      ? "keys with values"
                                                  : "nothing";
    return Error(node, absl::StrFormat("%s: expected %s; got %s",
                                       path.empty() ? "the configuration" : path, expected, found));
  }

  const std::string file_;
  SettingSources& sources_;
};

// "groups[0]" → "groups", 0; "restart" → "restart", nothing. Not a path's step: nothing.
struct PathStep {
  std::string key;
  std::optional<int> index;
};
std::optional<PathStep> ParseStep(std::string_view text) {
  const size_t bracket = text.find('[');
  if (bracket == std::string_view::npos) return PathStep{.key = std::string(text), .index = {}};
  int index = 0;
  if (!text.ends_with(']') ||
      !absl::SimpleAtoi(std::string(text.substr(bracket + 1, text.size() - bracket - 2)), &index)) {
    return std::nullopt;
  }
  return PathStep{.key = std::string(text.substr(0, bracket)), .index = index};
}

// The message inside `message` that a step names, or nullptr.
Message* Enter(const PathStep& step, Message& message) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(step.key);
  if (field == nullptr || !IsMessage(*field) || field->is_repeated() != step.index.has_value()) {
    return nullptr;
  }
  const Reflection& reflection = *message.GetReflection();
  if (!field->is_repeated()) return reflection.MutableMessage(&message, field);
  if (*step.index < 0 || *step.index >= reflection.FieldSize(message, field)) return nullptr;
  return reflection.MutableRepeatedMessage(&message, field, *step.index);
}

// Every field below `message` with its path, depth first, lists entered.
template <typename F>
absl::Status ForEachField(Message& message, const std::string& path, const F& visit) {
  const Descriptor& descriptor = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    const std::string field_path = JoinKey(path, field.name());
    if (!IsMessage(field)) {
      TRI_RETURN_IF_ERROR(visit(field_path, field, message));
    } else if (!field.is_repeated()) {
      TRI_RETURN_IF_ERROR(
          ForEachField(*reflection.MutableMessage(&message, &field), field_path, visit));
    } else {
      for (int k = 0; k < reflection.FieldSize(message, &field); ++k) {
        TRI_RETURN_IF_ERROR(ForEachField(*reflection.MutableRepeatedMessage(&message, &field, k),
                                         absl::StrFormat("%s[%d]", field_path, k), visit));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseYaml(std::string_view text, const std::string& file, Message& message,
                       SettingSources& sources) {
  TRI_ASSIGN_OR_RETURN(const YAML::Node root, LoadYaml(text, file));
  return Parser(file, sources).ParseMessage(root, "", message);
}

absl::Status SetFromFlag(const std::string& path, std::string_view value, Message& message,
                         SettingSources& sources) {
  TRI_ASSIGN_OR_RETURN(const YAML::Node node, LoadYaml(value, kCommandLine));
  Message* at = &message;
  std::string_view rest = path;
  for (size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
    const std::optional<PathStep> step = ParseStep(rest.substr(0, dot));
    Message* inner = step.has_value() ? Enter(*step, *at) : nullptr;
    if (inner == nullptr) break;
    at = inner;
    rest = rest.substr(dot + 1);
  }
  const FieldDescriptor* field = at->GetDescriptor()->FindFieldByName(std::string(rest));
  if (field == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: unknown key '%s' at '%s'; known here: %s", kCommandLine, path, rest,
                        absl::StrJoin(KnownKeys(*at->GetDescriptor()), ", ")));
  }
  return Parser("", sources).ParseField(node, path, *field, *at);
}

absl::Status CompleteSettings(const std::string& file, Message& message,
                              const SettingSources& sources) {
  return ForEachField(
      message, "",
      [&](const std::string& path, const FieldDescriptor& field, Message& owner) -> absl::Status {
        if (sources.contains(path)) return absl::OkStatus();
        const v1::Setting& setting = SettingOf(field);
        if (setting.required()) {
          return absl::InvalidArgumentError(
              absl::StrFormat("%s: key '%s' is missing; expected %s", file, path, Expected(field)));
        }
        if (!setting.default_value().empty()) {
          TRI_CHECK(StoreScalar(setting.default_value(), field, owner))
              << "config.proto: default of " << field.full_name();
        }
        return absl::OkStatus();
      });
}

std::string DescribeSettings(const Message& message, const SettingSources& sources) {
  const std::unique_ptr<Message> copy(message.New());
  copy->CopyFrom(message);
  std::string out;
  const absl::Status described = ForEachField(
      *copy, "", [&](const std::string& path, const FieldDescriptor& field, Message& owner) {
        const auto source = sources.find(path);
        out += absl::StrFormat("%s: %s  # %s\n", path, Printed(owner, field),
                               source == sources.end() ? "default" : source->second);
        return absl::OkStatus();
      });
  TRI_CHECK_OK(described);
  return out;
}

}  // namespace trireme
