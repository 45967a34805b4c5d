#include "tensor/tensor.hpp"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/checked.hpp"

namespace tenon {
namespace {

std::shared_ptr<std::byte> allocate_bytes(int64_t bytes) {
  auto rounded = static_cast<size_t>(round_up(bytes > 0 ? bytes : 1, 64));
  auto* p = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
  if (p == nullptr) fail(Code::kUnavailable, "out of memory: {} bytes for one tensor", bytes);
  return {p, [](std::byte* q) { std::free(q); }};
}

template <class T>
T from_double(double v) {
  if constexpr (std::is_same_v<T, bool>) {
    return v != 0;
  } else if constexpr (std::is_integral_v<T>) {
    if (std::isnan(v)) return 0;
    // 2^63 and 2^64 as doubles are exact, the integer limits are not: compare against these.
    constexpr double kTop = std::is_same_v<T, uint64_t>  ? 18446744073709551616.0
                            : std::is_same_v<T, int64_t> ? 9223372036854775808.0
                                                         : static_cast<double>(std::numeric_limits<T>::max()) + 1.0;
    if (v >= kTop) return std::numeric_limits<T>::max();
    if (v <= static_cast<double>(std::numeric_limits<T>::lowest())) return std::numeric_limits<T>::lowest();
    return static_cast<T>(v);
  } else {
    return static_cast<T>(v);
  }
}

unsigned packed_at(const std::byte* data, int width, int64_t index) {
  int64_t bit = index * width;
  return (static_cast<unsigned>(data[bit / 8]) >> (bit % 8)) & ((1u << width) - 1);
}

void packed_set(std::byte* data, int width, int64_t index, unsigned code) {
  int64_t bit = index * width;
  unsigned mask = ((1u << width) - 1) << (bit % 8);
  unsigned old = static_cast<unsigned>(data[bit / 8]);
  data[bit / 8] = static_cast<std::byte>((old & ~mask) | ((code << (bit % 8)) & mask));
}

bool is_minifloat(DType d) {
  return d == DType::kFloat8E4M3FN || d == DType::kFloat8E4M3FNUZ || d == DType::kFloat8E5M2 ||
         d == DType::kFloat8E5M2FNUZ || d == DType::kFloat8E8M0 || d == DType::kFloat4E2M1;
}

}  // namespace

int64_t element_count(std::span<const int64_t> dims) {
  int64_t count = 1;
  bool zero = false;
  for (int64_t d : dims) {
    expect(d >= 0, "dimension {} is negative in shape {}", d, dims_text(dims));
    if (d == 0) {
      zero = true;
      continue;
    }
    auto next = try_mul(count, d);
    expect(next.has_value(), "shape {} has more elements than 64 bits can count", dims_text(dims));
    count = *next;
  }
  return zero ? 0 : count;
}

std::string dims_text(std::span<const int64_t> dims) {
  if (dims.empty()) return "scalar";
  std::string out;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i >= 16) return out + "x...";
    if (i) out += 'x';
    out += std::to_string(dims[i]);
  }
  return out;
}

Tensor Tensor::uninitialized(DType dtype, Dims dims) {
  Tensor t;
  t.dtype_ = dtype;
  t.size_ = element_count(dims);
  t.bytes_ = byte_size(dtype, t.size_);
  expect(t.bytes_ < (int64_t{1} << 46), "a tensor of shape {} would need {} bytes", dims_text(dims), t.bytes_);
  t.dims_ = std::move(dims);
  if (dtype == DType::kString) {
    auto strings = std::make_shared<std::vector<std::string>>(static_cast<size_t>(t.size_));
    t.data_ = reinterpret_cast<const std::byte*>(strings->data());
    t.owner_ = std::move(strings);
  } else {
    auto storage = allocate_bytes(t.bytes_);
    t.data_ = storage.get();
    t.owner_ = std::move(storage);
  }
  return t;
}

Tensor Tensor::allocate(DType dtype, Dims dims) {
  Tensor t = uninitialized(dtype, std::move(dims));
  if (dtype != DType::kString) std::memset(t.mutable_raw(), 0, static_cast<size_t>(t.bytes_));
  return t;
}

Tensor Tensor::view(DType dtype, Dims dims, std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
  Tensor t;
  t.dtype_ = dtype;
  t.size_ = element_count(dims);
  t.bytes_ = byte_size(dtype, t.size_);
  expect(t.bytes_ == static_cast<int64_t>(bytes.size()), "{} bytes given for a {} tensor of shape {}, which has {}",
         bytes.size(), name(dtype), dims_text(dims), t.bytes_);
  t.dims_ = std::move(dims);
  t.data_ = bytes.data();
  t.owner_ = std::move(owner);
  return t;
}

double Tensor::at(int64_t i) const {
  if (is_minifloat(dtype_)) {
    unsigned code = bits(dtype_) == 4 ? packed_at(data_, 4, i) : static_cast<unsigned>(data_[i]);
    return minifloat_to_float(dtype_, static_cast<uint8_t>(code));
  }
  if (bits(dtype_) < 8) return static_cast<double>(int_at(i));
  return visit_numeric(dtype_, "reading an element", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return static_cast<double>(reinterpret_cast<const T*>(data_)[i]);
  });
}

int64_t Tensor::int_at(int64_t i) const {
  if (is_floating(dtype_)) return from_double<int64_t>(at(i));
  int width = bits(dtype_);
  if (width < 8) {
    auto code = static_cast<int64_t>(packed_at(data_, width, i));
    if (is_signed(dtype_) && (code >> (width - 1))) code -= int64_t{1} << width;
    return code;
  }
  return visit_numeric(dtype_, "reading an element", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_integral_v<T>) {
      return static_cast<int64_t>(reinterpret_cast<const T*>(data_)[i]);
    } else {
      return int64_t{0};
    }
  });
}

void Tensor::set(int64_t i, double value) {
  std::byte* out = mutable_raw();
  if (is_minifloat(dtype_)) {
    uint8_t code = float_to_minifloat(dtype_, static_cast<float>(value));
    if (bits(dtype_) == 4) {
      packed_set(out, 4, i, code);
    } else {
      out[i] = static_cast<std::byte>(code);
    }
    return;
  }
  if (bits(dtype_) < 8) {
    set_int(i, from_double<int64_t>(value));
    return;
  }
  visit_numeric(dtype_, "storing an element", [&](auto tag) {
    using T = typename decltype(tag)::type;
    reinterpret_cast<T*>(out)[i] = from_double<T>(value);
  });
}

void Tensor::set_int(int64_t i, int64_t value) {
  if (is_floating(dtype_)) {
    set(i, static_cast<double>(value));
    return;
  }
  int width = bits(dtype_);
  if (width < 8) {
    packed_set(mutable_raw(), width, i, static_cast<unsigned>(value) & ((1u << width) - 1));
    return;
  }
  visit_numeric(dtype_, "storing an element", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_integral_v<T>) reinterpret_cast<T*>(mutable_raw())[i] = static_cast<T>(value);
  });
}

std::vector<int64_t> Tensor::to_ints() const {
  expect(is_integer(dtype_) || dtype_ == DType::kBool, "integers are needed here, not {}", name(dtype_));
  std::vector<int64_t> out(static_cast<size_t>(size_));
  for (int64_t i = 0; i < size_; ++i) out[static_cast<size_t>(i)] = int_at(i);
  return out;
}

Tensor Tensor::reshaped(Dims dims) const {
  expect(element_count(dims) == size_, "shape {} cannot be viewed as {}", dims_text(dims_), dims_text(dims));
  Tensor t = *this;
  t.dims_ = std::move(dims);
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = uninitialized(dtype_, dims_);
  if (dtype_ == DType::kString) {
    std::copy_n(data<std::string>(), size_, t.mutable_data<std::string>());
  } else if (bytes_ > 0) {
    std::memcpy(t.mutable_raw(), data_, static_cast<size_t>(bytes_));
  }
  return t;
}

void Tensor::type_mismatch(DType wanted) const {
  fail(Code::kInvalidArgument, "a {} tensor was found where {} is needed", name(dtype_), name(wanted));
}

bool identical(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return false;
  if (a.dtype() == DType::kString) {
    return std::equal(a.data<std::string>(), a.data<std::string>() + a.size(), b.data<std::string>());
  }
  return a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

}  // namespace tenon
