// Types shared by the public API and every layer: error codes, the one exception type, element types.
// No third-party header is included from here.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace tenon {

/// The eight error codes; they are those of the Triton protocol, so a server maps them one to one.
enum class Code : uint8_t {
  kUnknown,
  kInternal,
  kNotFound,
  kInvalidArgument,
  kUnavailable,
  kUnsupported,
  kAlreadyExists,
  kCancelled,
};

/// The only exception that Tenon throws. `what()` is the message followed by the notes that callers added
/// while it travelled ("while importing node 'conv1' ..."), one a line.
class Error : public std::exception {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)), full_(message_) {}

  Code code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  const std::vector<std::string>& notes() const noexcept { return notes_; }
  const char* what() const noexcept override { return full_.c_str(); }

  /// Adds a line of context; returns *this so that `throw e.note(...)` reads well.
  Error& note(std::string text) {
    full_ += "\n  " + text;
    notes_.push_back(std::move(text));
    return *this;
  }

 private:
  Code code_;
  std::string message_;
  std::vector<std::string> notes_;
  std::string full_;
};

/// Element types. The numbers are those of ONNX's TensorProto.DataType.
enum class DType : uint8_t {
  kUndefined = 0,
  kFloat32 = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kUInt16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kFloat64 = 11,
  kUInt32 = 12,
  kUInt64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBFloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUInt4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUInt2 = 25,
  kInt2 = 26,
};

}  // namespace tenon
