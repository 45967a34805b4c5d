// Tensor: an element type, concrete dimensions, and bytes that it shares with others. Copying a Tensor copies
// no data. A tensor made by `allocate` may be written until it is shared; constants of a graph are never
// written. No operations live here. Reading one Tensor from several threads is safe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.hpp"

namespace tenon {

using Dims = std::vector<int64_t>;

/// Product of the dimensions, overflow-checked; an error for negative ones. Empty dims (a scalar) give 1.
int64_t element_count(std::span<const int64_t> dims);

/// "1x3x224x224"; "scalar" for no dimensions.
std::string dims_text(std::span<const int64_t> dims);

class Tensor {
 public:
  Tensor() = default;

  /// Zero-initialised, 64-byte aligned storage of its own (strings: empty strings).
  static Tensor allocate(DType dtype, Dims dims);
  /// As allocate, with numeric contents left undefined.
  static Tensor uninitialized(DType dtype, Dims dims);
  /// Views bytes that `owner` keeps alive (a mapped file, another tensor). `bytes` must be of the right size.
  static Tensor view(DType dtype, Dims dims, std::span<const std::byte> bytes, std::shared_ptr<const void> owner);

  template <class T>
  static Tensor of(Dims dims, std::span<const T> values) {
    Tensor out = allocate(dtype_of<T>(), std::move(dims));
    expect(static_cast<int64_t>(values.size()) == out.size(), "{} values given for a tensor of {}", values.size(),
           out.size());
    std::copy(values.begin(), values.end(), out.mutable_data<T>());
    return out;
  }
  static Tensor of_ints(std::span<const int64_t> values) {
    return of<int64_t>({static_cast<int64_t>(values.size())}, values);
  }
  template <class T>
  static Tensor scalar(T value) {
    return of<T>({}, std::span<const T>(&value, 1));
  }

  bool defined() const noexcept { return dtype_ != DType::kUndefined; }
  DType dtype() const noexcept { return dtype_; }
  const Dims& dims() const noexcept { return dims_; }
  int rank() const noexcept { return static_cast<int>(dims_.size()); }
  int64_t size() const noexcept { return size_; }  ///< elements
  int64_t bytes() const noexcept { return bytes_; }

  const std::byte* raw() const noexcept { return data_; }
  std::byte* mutable_raw() noexcept { return const_cast<std::byte*>(data_); }

  template <class T>
  const T* data() const {
    check_type(dtype_of<T>());
    return reinterpret_cast<const T*>(data_);
  }
  template <class T>
  T* mutable_data() {
    check_type(dtype_of<T>());
    return reinterpret_cast<T*>(const_cast<std::byte*>(data_));
  }
  template <class T>
  std::span<const T> values() const {
    return {data<T>(), static_cast<size_t>(size_)};
  }

  /// One element as double or int64, whatever the (numeric) type; sub-byte and minifloat types included.
  double at(int64_t index) const;
  int64_t int_at(int64_t index) const;
  /// Stores with conversion: minifloats and float-to-integer saturate, integer-to-integer wraps, NaN to
  /// integer is 0.
  void set(int64_t index, double value);
  void set_int(int64_t index, int64_t value);

  std::vector<int64_t> to_ints() const;  ///< any integer or bool type

  /// The same bytes under other dimensions of the same size.
  Tensor reshaped(Dims dims) const;
  Tensor clone() const;

  /// Keeps the storage alive; for views into it.
  std::shared_ptr<const void> owner() const noexcept { return owner_; }

 private:
  void check_type(DType wanted) const {
    if (wanted != dtype_) [[unlikely]]
      type_mismatch(wanted);
  }
  [[noreturn]] void type_mismatch(DType wanted) const;

  DType dtype_ = DType::kUndefined;
  Dims dims_;
  int64_t size_ = 0;
  int64_t bytes_ = 0;
  const std::byte* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

/// Same type, dims and bit pattern (strings by value).
bool identical(const Tensor& a, const Tensor& b);

}  // namespace tenon
