#include "runtime/model/architecture.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace trireme {

const std::vector<Architecture>& Architectures() {
  static const std::vector<Architecture> list = {LlamaArchitecture(), Llama4Architecture()};
  return list;
}

absl::StatusOr<const Architecture*> FindArchitecture(std::string_view model_type) {
  std::string supported;
  for (const Architecture& architecture : Architectures()) {
    for (const std::string_view type : architecture.model_types) {
      if (type == model_type) return &architecture;
      supported += supported.empty() ? "" : ", ";
      supported += type;
    }
  }
  return absl::UnimplementedError(absl::StrFormat(
      "model type \"%s\" is not supported; supported are: %s", model_type, supported));
}

}  // namespace trireme
