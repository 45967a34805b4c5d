#include "tensor/npy.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/checked.hpp"
#include "base/file.hpp"
#include "base/utf8.hpp"
#include "tensor/npy_format.hpp"

namespace tenon::npy {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr int64_t kMaxHeader = 65536;
constexpr int kMaxRank = 64;
constexpr int64_t kChunk = 1 << 20;

struct Header {
  char order = '|';
  char kind = 0;     // f i u b c S U
  int64_t item = 0;  // bytes of one element in the file
  bool fortran = false;
  Dims dims;
};

/// Reads the Python literal {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } and nothing more general.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  Header parse() {
    Header out;
    bool descr = false, order = false, shape = false;
    take('{');
    while (!accept('}')) {
      std::string_view key = quoted();
      take(':');
      if (key == "descr" && !descr) {
        parse_descr(out);
        descr = true;
      } else if (key == "fortran_order" && !order) {
        out.fortran = boolean();
        order = true;
      } else if (key == "shape" && !shape) {
        out.dims = tuple();
        shape = true;
      } else {
        broken("has an unknown or repeated key");
      }
      if (!accept(',')) {
        take('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) broken("goes on after its end");
    if (!descr || !order || !shape) broken("lacks descr, fortran_order or shape");
    return out;
  }

 private:
  [[noreturn]] void broken(std::string_view why) {
    fail(Code::kInvalidArgument, "{} is not a valid .npy array: its header {} (at character {})", what_, why, at_);
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void take(char c) {
    if (!accept(c)) broken("is malformed");
  }
  std::string_view quoted() {
    skip_space();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) broken("is malformed");
    char quote = text_[at_++];
    size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) broken("has an open quotation");
    std::string_view out = text_.substr(at_, end - at_);
    at_ = end + 1;
    return out;
  }
  bool boolean() {
    skip_space();
    for (std::string_view word : {"True", "False"}) {
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return word == "True";
      }
    }
    broken("has a fortran_order that is neither True nor False");
  }
  int64_t number() {
    skip_space();
    int64_t value = 0;
    size_t first = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      auto next = try_mul<int64_t>(value, 10);
      if (next) next = try_add<int64_t>(*next, text_[at_] - '0');
      if (!next) broken("has a number that is too large");
      value = *next;
    }
    if (at_ == first) broken("has something else where a non-negative number belongs");
    return value;
  }
  Dims tuple() {
    Dims out;
    take('(');
    while (!accept(')')) {
      if (out.size() >= kMaxRank) broken("has more than 64 dimensions");
      out.push_back(number());
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2 wrote long integers so
      if (!accept(',')) {
        take(')');
        break;
      }
    }
    return out;
  }
  void parse_descr(Header& out) {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '[') {
      fail(Code::kUnsupported, "{} is an array of records; save its fields as arrays of their own", what_);
    }
    std::string_view text = quoted();
    size_t i = 0;
    if (!text.empty() && std::string_view("<>|=").find(text[0]) != std::string_view::npos) out.order = text[i++];
    if (i < text.size()) out.kind = text[i++];
    if (out.kind == 'O') {
      fail(Code::kUnsupported, "{} holds Python objects, which are not read; save numbers or strings", what_);
    }
    if (out.kind == 'V') {
      fail(Code::kUnsupported,
           "{} has numpy type '{}', whose meaning the file does not say; save bfloat16 and fp8 as .view(uint16) or "
           ".view(uint8)",
           what_, text);
    }
    for (; i < text.size() && text[i] >= '0' && text[i] <= '9' && out.item < (1 << 28); ++i) {
      out.item = out.item * 10 + (text[i] - '0');
    }
    if (i != text.size() || text.size() > 16) {
      fail(Code::kUnsupported, "{} has numpy type '{}', which Tenon has no counterpart for", what_, text.substr(0, 40));
    }
  }

  std::string_view text_, what_;
  size_t at_ = 0;
};

DType dtype_for(const Header& h, std::string_view what) {
  struct Row {
    char kind;
    int64_t item;
    DType dtype;
  };
  static constexpr Row kRows[] = {
      {'f', 2, DType::kFloat16},   {'f', 4, DType::kFloat32},     {'f', 8, DType::kFloat64}, {'i', 1, DType::kInt8},
      {'i', 2, DType::kInt16},     {'i', 4, DType::kInt32},       {'i', 8, DType::kInt64},   {'u', 1, DType::kUInt8},
      {'u', 2, DType::kUInt16},    {'u', 4, DType::kUInt32},      {'u', 8, DType::kUInt64},  {'b', 1, DType::kBool},
      {'c', 8, DType::kComplex64}, {'c', 16, DType::kComplex128},
  };
  if (h.kind == 'S' || h.kind == 'U') return DType::kString;
  for (const Row& row : kRows) {
    if (row.kind == h.kind && row.item == h.item) return row.dtype;
  }
  fail(Code::kUnsupported, "{} has numpy type '{}{}', which Tenon has no counterpart for", what, h.kind, h.item);
}

void swap_bytes(std::byte* data, int64_t count, int64_t item) {
  for (int64_t i = 0; i < count; ++i, data += item) std::reverse(data, data + item);
}

std::string string_of(const std::byte* item, const Header& h) {
  if (h.kind == 'S') {
    std::string out(reinterpret_cast<const char*>(item), static_cast<size_t>(h.item));
    out.resize(out.find_last_not_of('\0') + 1);
    return out;
  }
  std::string out;
  size_t kept = 0;  // length up to the last character that is not a NUL
  for (int64_t i = 0; i + 4 <= h.item; i += 4) {
    uint32_t c;
    std::memcpy(&c, item + i, 4);
    if (h.order == '>') c = __builtin_bswap32(c);
    append_utf8(out, c);
    if (c != 0) kept = out.size();
  }
  out.resize(kept);
  return out;
}

void read_strings(const ReadFn& read, const Header& h, Tensor& out) {
  auto* strings = out.mutable_data<std::string>();
  if (h.item == 0) return;
  int64_t at_once = std::max<int64_t>(1, kChunk / h.item);
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(at_once, out.size()) * h.item));
  for (int64_t done = 0; done < out.size(); done += at_once) {
    int64_t count = std::min(at_once, out.size() - done);
    read(buffer.data(), static_cast<size_t>(count * h.item));
    for (int64_t i = 0; i < count; ++i) strings[done + i] = string_of(buffer.data() + i * h.item, h);
  }
}

/// The same values with the dims reversed in memory: Fortran order to C order.
template <class T>
void transpose_into(const T* in, const Dims& dims, T* out) {
  std::vector<int64_t> strides(dims.size()), index(dims.size(), 0);
  int64_t stride = 1, count = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    strides[i] = stride;
    stride *= dims[i];
    count *= dims[i];
  }
  for (int64_t i = 0, from = 0; i < count; ++i) {
    out[i] = in[from];
    for (size_t d = dims.size(); d-- > 0;) {
      from += strides[d];
      if (++index[d] < dims[d]) break;
      from -= strides[d] * dims[d];
      index[d] = 0;
    }
  }
}

struct Wide {
  uint64_t a, b;
};

Tensor to_c_order(const Tensor& in) {
  Tensor out = Tensor::uninitialized(in.dtype(), in.dims());
  const void* from = in.raw();
  void* to = out.mutable_raw();
  auto move = [&](auto tag) {
    using T = decltype(tag);
    transpose_into(static_cast<const T*>(from), in.dims(), static_cast<T*>(to));
  };
  if (in.dtype() == DType::kString) {
    move(std::string());
  } else if (bits(in.dtype()) == 8) {
    move(uint8_t{});
  } else if (bits(in.dtype()) == 16) {
    move(uint16_t{});
  } else if (bits(in.dtype()) == 32) {
    move(uint32_t{});
  } else if (bits(in.dtype()) == 64) {
    move(uint64_t{});
  } else {
    move(Wide{});
  }
  return out;
}

Header read_header(const ReadFn& read, int64_t total, std::string_view what, int64_t& used) {
  unsigned char start[12] = {};
  expect(total >= 10, "{} is not an .npy array: {} bytes are too few", what, total);
  read(reinterpret_cast<std::byte*>(start), 10);
  expect(std::memcmp(start, kMagic.data(), kMagic.size()) == 0,
         "{} is not an .npy array: it does not begin with \\x93NUMPY", what);
  int version = start[6];
  expect(version >= 1 && version <= 3, "{} has .npy version {}; 1 to 3 are known", what, version);
  int64_t length = start[8] | (start[9] << 8);
  used = 10;
  if (version >= 2) {
    expect(total >= 12, "{} ends within its header", what);
    read(reinterpret_cast<std::byte*>(start + 10), 2);
    length |= static_cast<int64_t>(start[10]) << 16 | static_cast<int64_t>(start[11]) << 24;
    used = 12;
  }
  expect(length <= kMaxHeader, "{} has a header of {} bytes; {} are allowed", what, length, kMaxHeader);
  expect(length <= total - used, "{} ends within its header", what);
  std::string text(static_cast<size_t>(length), '\0');
  read(reinterpret_cast<std::byte*>(text.data()), text.size());
  used += length;
  return HeaderParser(text, what).parse();
}

void check_size(const Header& h, DType dtype, int64_t available, int64_t budget, std::string_view what) {
  int64_t count = element_count(h.dims);
  auto in_file = try_mul(count, h.item);
  expect(in_file == available, "{} says it is {} elements of {} bytes, but holds {} bytes of data", what,
         dims_text(h.dims), h.item, available);
  int64_t memory =
      dtype == DType::kString ? checked_add(checked_mul<int64_t>(count, sizeof(std::string)), *in_file) : *in_file;
  expect(memory <= budget, "{} needs {} bytes of memory, more than the limit of {}", what, memory, budget);
}

}  // namespace

int64_t memory_of(const Tensor& tensor) {
  int64_t bytes = tensor.bytes();
  if (tensor.dtype() == DType::kString) {
    for (const std::string& s : tensor.values<std::string>()) bytes += static_cast<int64_t>(s.size());
  }
  return bytes;
}

Tensor read_stream(const ReadFn& read, int64_t total, int64_t budget, std::string_view what) {
  static_assert(std::endian::native == std::endian::little);
  int64_t used = 0;
  Header h = read_header(read, total, what, used);
  DType dtype = dtype_for(h, what);
  if (h.kind == 'U') h.item *= 4;
  check_size(h, dtype, total - used, budget, what);
  bool permute = h.fortran && h.dims.size() > 1;
  // Fortran order takes a second copy for a moment.
  Tensor out = dtype == DType::kString ? Tensor::allocate(dtype, h.dims) : Tensor::uninitialized(dtype, h.dims);
  if (dtype == DType::kString) {
    read_strings(read, h, out);
  } else if (out.bytes() > 0) {
    read(out.mutable_raw(), static_cast<size_t>(out.bytes()));
    int64_t part = h.kind == 'c' ? h.item / 2 : h.item;
    if (h.order == '>' && part > 1) swap_bytes(out.mutable_raw(), out.bytes() / part, part);
    if (dtype == DType::kBool) {  // a C++ bool that is neither 0 nor 1 is undefined behaviour
      auto* bytes = reinterpret_cast<uint8_t*>(out.mutable_raw());
      for (int64_t i = 0; i < out.size(); ++i) bytes[i] = bytes[i] != 0;
    }
  }
  return permute && out.size() > 0 ? to_c_order(out) : out;
}

}  // namespace tenon::npy

namespace tenon {
namespace {

/// An open regular file of known size.
class InputFile {
 public:
  explicit InputFile(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd_ < 0) {
      fail(errno == ENOENT ? Code::kNotFound : Code::kUnavailable, "{} cannot be read: {}", path, std::strerror(errno));
    }
    struct stat info {};
    if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
      ::close(fd_);
      fail(Code::kInvalidArgument, "{} is not a regular file", path);
    }
    size_ = info.st_size;
  }
  ~InputFile() { ::close(fd_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  int64_t size() const { return size_; }
  void read(std::byte* out, size_t bytes) {
    while (bytes > 0) {
      ssize_t n = ::read(fd_, out, bytes);
      if (n < 0 && errno == EINTR) continue;
      expect(n != 0, "{} ends too early", path_);
      if (n < 0) fail(Code::kUnavailable, "{} cannot be read: {}", path_, std::strerror(errno));
      out += n;
      bytes -= static_cast<size_t>(n);
    }
  }

 private:
  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
};

}  // namespace

Tensor read_npy(const std::string& path, const NpyLimits& limits) {
  InputFile file(path);
  return npy::read_stream([&](std::byte* out, size_t n) { file.read(out, n); }, file.size(), limits.array_bytes, path);
}

Tensor parse_npy(std::span<const std::byte> bytes, std::string_view what, const NpyLimits& limits) {
  auto rest = bytes;
  auto read = [&](std::byte* out, size_t n) {
    expect(n <= rest.size(), "{} ends too early", what);
    std::copy_n(rest.data(), n, out);
    rest = rest.subspan(n);
  };
  return npy::read_stream(read, static_cast<int64_t>(bytes.size()), limits.array_bytes, what);
}

void write_npy(const std::string& path, const Tensor& tensor) {
  npy::Image image;
  npy::make_image(tensor, image);
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(image.header)));
  file.write(image.data);
  file.commit();
}

Tensor read_raw(const std::string& path, DType dtype, Dims dims) {
  expect(dtype != DType::kString, "{}: strings have no raw form; use .npy", path);
  InputFile file(path);
  int64_t bytes = byte_size(dtype, element_count(dims));
  expect(bytes == file.size(), "{} has {} bytes, but a {} tensor of shape {} has {}", path, file.size(), name(dtype),
         dims_text(dims), bytes);
  Tensor out = Tensor::uninitialized(dtype, std::move(dims));
  file.read(out.mutable_raw(), static_cast<size_t>(bytes));
  if (dtype == DType::kBool) {
    auto* flags = reinterpret_cast<uint8_t*>(out.mutable_raw());
    for (int64_t i = 0; i < out.size(); ++i) flags[i] = flags[i] != 0;
  }
  return out;
}

void write_raw(const std::string& path, const Tensor& tensor) {
  expect(tensor.defined() && tensor.dtype() != DType::kString, "{}: strings have no raw form; use .npy", path);
  AtomicFile file(path);
  file.write({tensor.raw(), static_cast<size_t>(tensor.bytes())});
  file.commit();
}

}  // namespace tenon
