#include "onnx/wire.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <protozero/exception.hpp>
#include <protozero/varint.hpp>

#include "base/error.hpp"

namespace tenon::onnx {

static_assert(std::endian::native == std::endian::little, "weights are mapped as the file has them: little endian");

std::string Where::text() const {
  std::vector<const Where*> chain;
  for (const Where* w = this; w != nullptr; w = w->up) chain.push_back(w);
  std::string out;
  for (size_t i = chain.size(); i-- > 0;) {
    if (!out.empty()) out += '.';
    out += chain[i]->field;
    if (chain[i]->index >= 0) out += fmt::format("[{}]", chain[i]->index);
  }
  return out;
}

void Where::reject(const std::string& why) const { fail(Code::kInvalidArgument, "{}: {}", text(), why); }

namespace detail {

uint64_t read_varint(const char** at, const char* end, const Where& where, std::string_view name) {
  try {
    const char* start = *at;
    uint64_t value = protozero::decode_varint(at, end);
    // The tenth byte has room for one bit only.
    if (*at - start == 10 && static_cast<unsigned char>((*at)[-1]) > 1)
      where.reject(fmt::format("a number of field {} has more than 64 bits", name));
    return value;
  } catch (const protozero::exception& e) {
    where.reject(fmt::format("the file ends inside field {}, or a number in it is over-long ({})", name, e.what()));
  }
}

uint64_t read_fixed(const char** at, const char* end, int bytes, const Where& where, std::string_view name) {
  if (end - *at < bytes) where.reject(fmt::format("field {} ends inside a number", name));
  uint64_t out = 0;
  std::memcpy(&out, *at, static_cast<size_t>(bytes));
  *at += bytes;
  return out;
}

}  // namespace detail

Message::Message(Bytes bytes, const Where& where)
    : where_(where), at_(reinterpret_cast<const char*>(bytes.data())), end_(at_ + bytes.size()) {
  if (where.depth > kMaxDepth) where.reject(fmt::format("messages are nested deeper than {}", kMaxDepth));
}

bool Message::next() {
  if (at_ == end_) return false;
  uint64_t key = detail::read_varint(&at_, end_, where_, "key");
  uint64_t number = key >> 3;
  if (number == 0 || number > 0x1fffffff) where_.reject(fmt::format("{} is not a field number", number));
  field_ = static_cast<uint32_t>(number);
  std::string_view what = "value";
  switch (key & 7) {
    case 0:
      wire_ = Wire::kVarint;
      value_ = detail::read_varint(&at_, end_, where_, what);
      return true;
    case 1:
      wire_ = Wire::kFixed64;
      value_ = detail::read_fixed(&at_, end_, 8, where_, what);
      return true;
    case 2: {
      wire_ = Wire::kBytes;
      uint64_t length = detail::read_varint(&at_, end_, where_, "length");
      auto left = static_cast<uint64_t>(end_ - at_);
      if (length > left)
        where_.reject(fmt::format("field {} claims {} bytes where {} are left: the file is truncated or damaged",
                                  field_, length, left));
      bytes_ = {reinterpret_cast<const std::byte*>(at_), static_cast<size_t>(length)};
      at_ += length;
      return true;
    }
    case 5:
      wire_ = Wire::kFixed32;
      value_ = detail::read_fixed(&at_, end_, 4, where_, what);
      return true;
    default:
      where_.reject(
          fmt::format("field {} has wire type {}, which ONNX does not use: the file is damaged", field_, key & 7));
  }
}

void Message::expect_wire(Wire wanted, std::string_view name) const {
  if (wire_ == wanted) return;
  where_.reject(fmt::format("field '{}' ({}) has wire type {} where {} belongs", name, field_, static_cast<int>(wire_),
                            static_cast<int>(wanted)));
}

uint64_t Message::raw(Wire wire, std::string_view name) const {
  expect_wire(wire, name);
  return value_;
}

int64_t Message::integer(std::string_view name) const { return static_cast<int64_t>(raw(Wire::kVarint, name)); }

float Message::number(std::string_view name) const {
  return std::bit_cast<float>(static_cast<uint32_t>(raw(Wire::kFixed32, name)));
}

Bytes Message::bytes(std::string_view name) const {
  expect_wire(Wire::kBytes, name);
  return bytes_;
}

std::string_view Message::text(std::string_view name) const {
  Bytes b = bytes(name);
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

std::string_view Message::name(std::string_view name) const {
  std::string_view out = text(name);
  if (out.size() > kMaxName)
    where_.reject(fmt::format("field '{}' has {} bytes; names have at most {}", name, out.size(), kMaxName));
  if (!valid_utf8(out)) where_.reject(fmt::format("field '{}' is not valid UTF-8 text", name));
  // Names end up on terminals, in dumps and in file names.
  bool control = std::any_of(out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (control) where_.reject(fmt::format("field '{}' has control characters in it", name));
  return out;
}

void Message::integers(std::string_view name, std::vector<int64_t>& out, size_t limit) const {
  for_each_packed(*this, name, Wire::kVarint, [&](uint64_t v) {
    if (out.size() >= limit) where_.reject(fmt::format("field '{}' has more than {} entries", name, limit));
    out.push_back(static_cast<int64_t>(v));
  });
}

void Message::numbers(std::string_view name, std::vector<double>& out, size_t limit) const {
  for_each_packed(*this, name, Wire::kFixed32, [&](uint64_t v) {
    if (out.size() >= limit) where_.reject(fmt::format("field '{}' has more than {} entries", name, limit));
    out.push_back(std::bit_cast<float>(static_cast<uint32_t>(v)));
  });
}

int64_t packed_count(const Message& m, std::string_view name, Wire wire) {
  if (m.wire() != Wire::kBytes) {
    m.raw(wire, name);
    return 1;
  }
  Bytes b = m.bytes(name);
  if (wire == Wire::kVarint) {
    // Each varint ends with the one byte whose top bit is clear.
    return std::count_if(b.begin(), b.end(), [](std::byte x) { return (x & std::byte{0x80}) == std::byte{0}; });
  }
  return static_cast<int64_t>(b.size() / (wire == Wire::kFixed32 ? 4 : 8));
}

bool valid_utf8(std::string_view s) noexcept {
  for (size_t i = 0; i < s.size();) {
    auto c = static_cast<unsigned char>(s[i]);
    size_t more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 9;
    if (more == 9 || i + more >= s.size()) return false;
    for (size_t k = 1; k <= more; ++k) {
      if ((static_cast<unsigned char>(s[i + k]) & 0xc0) != 0x80) return false;
    }
    if (more >= 2) {
      auto second = static_cast<unsigned char>(s[i + 1]);
      // Over-long forms, surrogates, and code points past U+10FFFF.
      if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second >= 0xa0) || (c == 0xf0 && second < 0x90) ||
          (c == 0xf4 && second >= 0x90))
        return false;
    }
    i += more + 1;
  }
  return true;
}

std::string clean_utf8(std::string_view text) {
  std::string out(text);
  bool ok = valid_utf8(text);
  for (char& c : out) {
    if (c == '\0' || (!ok && static_cast<unsigned char>(c) >= 0x80)) c = '?';
  }
  return out;
}

}  // namespace tenon::onnx
