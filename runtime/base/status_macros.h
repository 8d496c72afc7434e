// The two macros that carry absl::Status up a call chain. (The distribution's abseil has none.)
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define TRI_RETURN_IF_ERROR(expression)                                              \
  do {                                                                               \
    if (absl::Status tri_status = (expression); !tri_status.ok()) return tri_status; \
  } while (false)

#define TRI_STATUS_CONCAT_INNER(a, b) a##b
#define TRI_STATUS_CONCAT(a, b) TRI_STATUS_CONCAT_INNER(a, b)

// TRI_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
#define TRI_ASSIGN_OR_RETURN(declaration, expression) \
  TRI_ASSIGN_OR_RETURN_NAMED(TRI_STATUS_CONCAT(tri_statusor_, __LINE__), declaration, expression)
#define TRI_ASSIGN_OR_RETURN_NAMED(temporary, declaration, expression) \
  auto temporary = (expression);                                       \
  if (!temporary.ok()) return std::move(temporary).status();           \
  declaration = *std::move(temporary)
