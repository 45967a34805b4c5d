// .npz archives by libzip, and the .npy image of a tensor (the writing half of npy.hpp).
#include <zip.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <system_error>

#include "base/checked.hpp"
#include "base/file.hpp"
#include "base/utf8.hpp"
#include "tensor/npy.hpp"
#include "tensor/npy_format.hpp"

namespace tenon {
namespace {

/// Strings as <U where all are UTF-8, as |S otherwise. Returns numpy's type.
std::string convert_strings(std::span<const std::string> strings, std::string& out) {
  std::vector<std::vector<char32_t>> wide;
  size_t longest = 1, longest_bytes = 1;
  bool utf8 = true;
  for (const std::string& s : strings) {
    longest_bytes = std::max(longest_bytes, s.size());
    if (!utf8) continue;
    auto points = decode_utf8(s);
    utf8 = points.has_value();
    if (utf8) longest = std::max(longest, points->size());
    if (utf8) wide.push_back(std::move(*points));
  }
  if (!utf8) {
    out.assign(checked_mul(strings.size(), longest_bytes), '\0');
    for (size_t i = 0; i < strings.size(); ++i) strings[i].copy(out.data() + i * longest_bytes, strings[i].size());
    return fmt::format("|S{}", longest_bytes);
  }
  size_t item = longest * 4;
  out.assign(checked_mul(strings.size(), item), '\0');
  for (size_t i = 0; i < wide.size(); ++i) {
    if (!wide[i].empty()) std::memcpy(out.data() + i * item, wide[i].data(), wide[i].size() * 4);
  }
  return fmt::format("<U{}", longest);
}

/// Sub-byte elements one to a byte: integers by value, float4 by code.
std::string convert_packed(const Tensor& t, std::string& out) {
  int width = bits(t.dtype());
  out.resize(static_cast<size_t>(t.size()));
  for (int64_t i = 0; i < t.size(); ++i) {
    if (t.dtype() == DType::kFloat4E2M1) {
      out[static_cast<size_t>(i)] = static_cast<char>((static_cast<unsigned>(t.raw()[i / 2]) >> (4 * (i % 2))) & 15u);
    } else {
      out[static_cast<size_t>(i)] = static_cast<char>(t.int_at(i));
    }
  }
  TENON_CHECK(width < 8);
  return is_integer(t.dtype()) && is_signed(t.dtype()) ? "|i1" : "|u1";
}

std::string numpy_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat16: return "<f2";
    case DType::kFloat32: return "<f4";
    case DType::kFloat64: return "<f8";
    case DType::kInt8: return "|i1";
    case DType::kInt16: return "<i2";
    case DType::kInt32: return "<i4";
    case DType::kInt64: return "<i8";
    case DType::kUInt16:
    case DType::kBFloat16: return "<u2";
    case DType::kUInt32: return "<u4";
    case DType::kUInt64: return "<u8";
    case DType::kBool: return "|b1";
    case DType::kComplex64: return "<c8";
    case DType::kComplex128: return "<c16";
    default: return "|u1";  // uint8 and the fp8 kinds
  }
}

struct ZipCloser {
  void operator()(zip_t* z) const { zip_discard(z); }
  void operator()(zip_file_t* f) const { zip_fclose(f); }
  void operator()(zip_source_t* s) const { zip_source_free(s); }
};
using Zip = std::unique_ptr<zip_t, ZipCloser>;
using ZipEntry = std::unique_ptr<zip_file_t, ZipCloser>;
using Source = std::unique_ptr<zip_source_t, ZipCloser>;

Zip open_zip(const std::string& path, int flags) {
  int code = 0;
  Zip zip(zip_open(path.c_str(), flags, &code));
  if (!zip) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    std::string why = zip_error_strerror(&error);
    zip_error_fini(&error);
    fail(code == ZIP_ER_NOENT ? Code::kNotFound : Code::kInvalidArgument, "{} cannot be opened as an .npz archive: {}",
         path, why);
  }
  return zip;
}

/// What the directory says about an entry, believed only as far as it bounds what follows.
void check_entry(const zip_stat_t& stat, const NpyLimits& limits, std::string_view what) {
  constexpr zip_uint64_t kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  expect((stat.valid & kNeeded) == kNeeded, "{} has no size in the archive's directory", what);
  bool plain = !(stat.valid & ZIP_STAT_ENCRYPTION_METHOD) || stat.encryption_method == ZIP_EM_NONE;
  expect(plain, "{} is encrypted, which is not supported", what);
  if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) {
    fail(Code::kUnsupported, "{} is compressed by method {}; only stored and deflated entries are read", what,
         stat.comp_method);
  }
  // The header and a string's code points come on top of the tensor's memory; the exact test follows the header.
  auto most = static_cast<zip_uint64_t>(limits.array_bytes) + 65536 + 12;
  expect(stat.size <= most, "{} declares {} bytes, more than the limit of {}", what, stat.size, limits.array_bytes);
  // Deflate cannot do better than 1032:1, so a larger claim is a lie told to make us allocate.
  bool honest = stat.comp_method == ZIP_CM_STORE
                    ? stat.size == stat.comp_size
                    : stat.size <= checked_add(checked_mul<zip_uint64_t>(stat.comp_size, 1032), zip_uint64_t{1032});
  expect(honest, "{} declares {} bytes in {} compressed ones, which cannot be", what, stat.size, stat.comp_size);
}

Tensor read_entry(zip_t* zip, zip_uint64_t index, const zip_stat_t& stat, int64_t budget, std::string_view what) {
  ZipEntry entry(zip_fopen_index(zip, index, 0));
  expect(entry != nullptr, "{} cannot be opened: {}", what, zip_strerror(zip));
  auto read = [&](std::byte* out, size_t bytes) {
    while (bytes > 0) {
      zip_int64_t n = zip_fread(entry.get(), out, bytes);
      expect(n >= 0, "{} is damaged: {}", what, zip_file_strerror(entry.get()));
      expect(n > 0, "{} ends too early", what);
      out += n;
      bytes -= static_cast<size_t>(n);
    }
  };
  Tensor out = npy::read_stream(read, static_cast<int64_t>(stat.size), budget, what);
  // The checksum is tested at the end of the data; there must be no more of it.
  std::byte extra;
  zip_int64_t n = zip_fread(entry.get(), &extra, 1);
  expect(n >= 0, "{} is damaged: {}", what, zip_file_strerror(entry.get()));
  expect(n == 0, "{} has more data than the archive's directory says", what);
  return out;
}

void add_entry(zip_t* zip, const std::string& name, npy::Image& image, bool deflate) {
  zip_buffer_fragment_t fragments[2] = {
      {reinterpret_cast<zip_uint8_t*>(image.header.data()), image.header.size()},
      {reinterpret_cast<zip_uint8_t*>(const_cast<std::byte*>(image.data.data())), image.data.size()}};
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_fragment_create(fragments, image.data.empty() ? 1 : 2, 0, &error);
  zip_error_fini(&error);
  if (source == nullptr) fail(Code::kUnavailable, "out of memory while writing an .npz archive");
  zip_int64_t index = zip_file_add(zip, (name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8);
  if (index < 0) {
    zip_source_free(source);
    fail(Code::kInvalidArgument, "array '{}' cannot be put into an .npz archive: {}", name, zip_strerror(zip));
  }
  auto at = static_cast<zip_uint64_t>(index);
  zip_set_file_compression(zip, at, deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
  zip_file_set_dostime(zip, at, 0, (1 << 5) | 1, 0);  // 1 January 1980: the same tensors give the same bytes
}

Tensor same_bits(const Tensor& t, DType dtype) {
  return Tensor::view(dtype, t.dims(), {t.raw(), static_cast<size_t>(t.bytes())}, t.owner());
}

}  // namespace

void npy::make_image(const Tensor& tensor, Image& out) {
  expect(tensor.defined(), "an undefined tensor cannot be written");
  std::string type;
  out.converted.clear();
  if (tensor.dtype() == DType::kString) {
    type = convert_strings(tensor.values<std::string>(), out.converted);
    out.data = std::as_bytes(std::span(out.converted));
  } else if (bits(tensor.dtype()) < 8) {
    type = convert_packed(tensor, out.converted);
    out.data = std::as_bytes(std::span(out.converted));
  } else {
    type = numpy_type(tensor.dtype());
    out.data = {tensor.raw(), static_cast<size_t>(tensor.bytes())};
  }
  std::string shape;
  for (int64_t d : tensor.dims()) shape += fmt::format("{}, ", d);
  if (tensor.rank() > 1) shape.resize(shape.size() - 2);
  if (tensor.rank() == 1) shape.pop_back();
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", type, shape);
  size_t padded = (10 + text.size() + 1 + 63) / 64 * 64;  // the data begin at a multiple of 64
  TENON_CHECK(padded - 10 <= 65535);
  text.resize(padded - 11, ' ');
  auto length = static_cast<uint16_t>(text.size() + 1);
  out.header = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(length & 255) + static_cast<char>(length >> 8) +
               text + "\n";
}

NamedTensors read_npz(const std::string& path, const NpyLimits& limits) {
  std::error_code ignored;
  auto status = std::filesystem::status(path, ignored);  // a pipe or a device would block or never end
  expect(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status), "{} is not a regular file",
         path);
  Zip zip = open_zip(path, ZIP_RDONLY);
  zip_int64_t count = zip_get_num_entries(zip.get(), 0);
  expect(count <= limits.entries, "{} has {} entries; {} are allowed", path, count, limits.entries);
  NamedTensors out;
  std::set<std::string> seen;
  int64_t left = limits.total_bytes;
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t stat;
    auto index = static_cast<zip_uint64_t>(i);
    bool known = zip_stat_index(zip.get(), index, 0, &stat) == 0 && (stat.valid & ZIP_STAT_NAME);
    expect(known, "entry {} of {} has no name", i, path);
    std::string name = stat.name;
    std::string what = fmt::format("'{}' in {}", name, path);
    expect(name.ends_with(".npy"), "{} is not an .npy array; an .npz archive holds nothing else", what);
    name.resize(name.size() - 4);
    expect(seen.insert(name).second, "{} occurs twice", what);
    check_entry(stat, limits, what);
    Tensor tensor = read_entry(zip.get(), index, stat, std::min(left, limits.array_bytes), what);
    left -= npy::memory_of(tensor);
    out.emplace_back(std::move(name), std::move(tensor));
  }
  return out;
}

namespace {

void copy_out(zip_source_t* from, AtomicFile& to, const std::string& path) {
  auto check = [&](bool ok) {
    if (!ok) fail(Code::kUnavailable, "{} cannot be written: {}", path, zip_error_strerror(zip_source_error(from)));
  };
  check(zip_source_open(from) == 0);
  std::vector<std::byte> chunk(size_t{1} << 20);
  for (;;) {
    zip_int64_t n = zip_source_read(from, chunk.data(), chunk.size());
    check(n >= 0);
    if (n <= 0) break;
    to.write(std::span(chunk).first(static_cast<size_t>(n)));
  }
  zip_source_close(from);
}

}  // namespace

void write_npz(const std::string& path, const NamedTensors& tensors, bool deflate) {
  AtomicFile file(path);
  if (tensors.empty()) {
    // libzip writes nothing for an empty archive; numpy reads this end-of-directory record as one.
    static constexpr unsigned char kEmpty[22] = {'P', 'K', 5, 6};
    file.write(std::as_bytes(std::span(kEmpty)));
    return file.commit();
  }
  // Made in memory: what libzip writes beside a file by itself would stay when the process ends early.
  Source archive(zip_source_buffer_create(nullptr, 0, 0, nullptr));
  zip_source_keep(archive.get());
  Zip zip(zip_open_from_source(archive.get(), ZIP_CREATE | ZIP_TRUNCATE, nullptr));
  if (zip == nullptr) fail(Code::kUnavailable, "{} cannot be written: out of memory", path);
  std::vector<npy::Image> images(tensors.size());  // alive until the archive is closed
  for (size_t i = 0; i < tensors.size(); ++i) {
    npy::make_image(tensors[i].second, images[i]);
    add_entry(zip.get(), tensors[i].first, images[i], deflate);
  }
  if (zip_close(zip.get()) != 0) fail(Code::kUnavailable, "{} cannot be written: {}", path, zip_strerror(zip.get()));
  (void)zip.release();  // closed and freed
  copy_out(archive.get(), file, path);
  file.commit();
}

Tensor npy_view_as(const Tensor& tensor, DType dtype) {
  DType have = tensor.dtype();
  if (have == dtype) return tensor;
  if (have == DType::kUInt16 && (dtype == DType::kBFloat16 || dtype == DType::kFloat16))
    return same_bits(tensor, dtype);
  bool fp8 = bits(dtype) == 8 && is_floating(dtype);
  if (have == DType::kUInt8 && fp8) return same_bits(tensor, dtype);
  bool packed = bits(dtype) > 0 && bits(dtype) < 8;
  bool wants_signed = is_integer(dtype) && is_signed(dtype);
  expect(packed && have == (wants_signed ? DType::kInt8 : DType::kUInt8),
         "an array of {} was given where the model takes {}; convert it first", name(have), name(dtype));
  Tensor out = Tensor::allocate(dtype, tensor.dims());
  int width = bits(dtype);
  int64_t low = wants_signed ? -(int64_t{1} << (width - 1)) : 0, high = low + (int64_t{1} << width) - 1;
  for (int64_t i = 0; i < tensor.size(); ++i) {
    int64_t value = tensor.int_at(i);
    expect(value >= low && value <= high, "value {} at index {} does not fit into {}", value, i, name(dtype));
    if (dtype == DType::kFloat4E2M1) {
      out.mutable_raw()[i / 2] |= static_cast<std::byte>(value << (4 * (i % 2)));
    } else {
      out.set_int(i, value);
    }
  }
  return out;
}

}  // namespace tenon
