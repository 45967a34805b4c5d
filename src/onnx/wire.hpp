// Reading of the protobuf wire format, field by field, straight from the file's bytes. Nothing is copied and nothing
// is trusted: lengths are 64 bits wide and checked, groups, unknown wire types and over-long varints are refused, and
// nesting is bounded. Every error names the path of the field ("model.graph.node[3].attribute[1].t").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::onnx {

using Bytes = std::span<const std::byte>;

/// Place of a message in the file, for errors and for the nesting limit. Lives on the stack; points to its parent.
struct Where {
  const Where* up = nullptr;
  std::string_view field;
  int64_t index = -1;  ///< of a repeated field; -1: not repeated
  int depth = 0;

  Where child(std::string_view name, int64_t at = -1) const { return {this, name, at, depth + 1}; }
  std::string text() const;
  [[noreturn]] void reject(const std::string& why) const;  ///< Error{invalid argument}: "<path>: <why>"
};

/// Messages may nest this deep; protobuf's own readers have the same limit.
inline constexpr int kMaxDepth = 100;
/// Names (of values, nodes, operators) may have this many bytes.
inline constexpr size_t kMaxName = 65536;

enum class Wire : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

/// The fields of one message, in file order: while (m.next()) switch (m.field()) ...
class Message {
 public:
  Message(Bytes bytes, const Where& where);
  bool next();
  uint32_t field() const noexcept { return field_; }
  Wire wire() const noexcept { return wire_; }
  const Where& where() const noexcept { return where_; }

  // The value of the current field; a field of another wire type is an error that names it.
  int64_t integer(std::string_view name) const;
  float number(std::string_view name) const;
  Bytes bytes(std::string_view name) const;
  std::string_view text(std::string_view name) const;  ///< as bytes, any content
  std::string_view name(std::string_view name) const;  ///< UTF-8 without control characters, at most kMaxName bytes

  uint64_t raw(Wire wire, std::string_view name) const;  ///< the bits of a varint or fixed field

  // Repeated numbers, packed or one by one, appended to `out`; `limit` bounds its size.
  void integers(std::string_view name, std::vector<int64_t>& out, size_t limit) const;
  void numbers(std::string_view name, std::vector<double>& out, size_t limit) const;

 private:
  void expect_wire(Wire wanted, std::string_view name) const;

  const Where& where_;
  const char* at_;
  const char* end_;
  uint32_t field_ = 0;
  Wire wire_ = Wire::kVarint;
  uint64_t value_ = 0;
  Bytes bytes_;
};

/// Numbers of one packed (kBytes) or single entry. `each` is called with the raw 64 bits; `wire` is what the element
/// has when it is not packed. Throws on truncation.
template <class F>
void for_each_packed(const Message& m, std::string_view name, Wire wire, F&& each);

/// How many entries the current (packed or single) field holds; cheap, allocates nothing.
int64_t packed_count(const Message& m, std::string_view name, Wire wire);

bool valid_utf8(std::string_view text) noexcept;
/// The text with bytes that are no UTF-8, and NULs, replaced by '?'. For documentation and metadata.
std::string clean_utf8(std::string_view text);

namespace detail {
uint64_t read_varint(const char** at, const char* end, const Where& where, std::string_view name);
uint64_t read_fixed(const char** at, const char* end, int bytes, const Where& where, std::string_view name);
}  // namespace detail

template <class F>
void for_each_packed(const Message& m, std::string_view name, Wire wire, F&& each) {
  if (m.wire() != Wire::kBytes) {
    each(m.raw(wire, name));
    return;
  }
  Bytes b = m.bytes(name);
  const char* at = reinterpret_cast<const char*>(b.data());
  const char* end = at + b.size();
  while (at != end) {
    each(wire == Wire::kVarint ? detail::read_varint(&at, end, m.where(), name)
                               : detail::read_fixed(&at, end, wire == Wire::kFixed32 ? 4 : 8, m.where(), name));
  }
}

}  // namespace tenon::onnx
