#include "base/error.hpp"

#include <cstring>

namespace tenon {

void check_failed(const char* condition, const char* file, int line) {
  const char* tail = std::strstr(file, "src/");
  throw Error(Code::kInternal,
              fmt::format("internal error: {} does not hold ({}:{}); please report this with the model", condition,
                          tail ? tail : file, line));
}

const char* name(Code code) noexcept {
  switch (code) {
    case Code::kUnknown: return "unknown";
    case Code::kInternal: return "internal";
    case Code::kNotFound: return "not found";
    case Code::kInvalidArgument: return "invalid argument";
    case Code::kUnavailable: return "unavailable";
    case Code::kUnsupported: return "unsupported";
    case Code::kAlreadyExists: return "already exists";
    case Code::kCancelled: return "cancelled";
  }
  return "unknown";
}

}  // namespace tenon
