// Tensors in numpy's files: .npy (one array), .npz (a zip of named arrays), and raw dumps of the bytes.
//
// Reading takes every numeric numpy type of either byte order, C and Fortran order, and <U and |S strings (given as
// UTF-8 and as the bytes up to the trailing NULs). Python objects, records and dates are refused. Files are hostile
// until proven otherwise: headers are bounded, sizes overflow-checked and compared with the file before memory is
// taken, and a zip entry is refused by its declared size before a byte of it is inflated.
//
// Writing is atomic (temporary file, fsync, rename): an interruption leaves the old file. Types that numpy does not
// have are written as integers of the same bits: bfloat16 as uint16, fp8 kinds as uint8, int4/uint4/float4/2-bit
// unpacked to one int8 or uint8 each; npy_view_as() turns them back. All functions may be called from several threads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/tensor.hpp"

namespace tenon {

struct NpyLimits {
  int64_t array_bytes = int64_t{4} << 30;  ///< one array in memory
  int64_t total_bytes = int64_t{8} << 30;  ///< all arrays of an .npz in memory
  int64_t entries = 65536;                 ///< arrays in an .npz
};

/// Names as in the archive, without ".npy".
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

Tensor read_npy(const std::string& path, const NpyLimits& limits = {});
void write_npy(const std::string& path, const Tensor& tensor);

/// An .npy image in memory; `what` names it in errors.
Tensor parse_npy(std::span<const std::byte> bytes, std::string_view what, const NpyLimits& limits = {});

/// The arrays in the archive's order. Stored and deflated entries; a name that occurs twice is an error.
NamedTensors read_npz(const std::string& path, const NpyLimits& limits = {});
/// Same tensors, same bytes: entries carry no time. `deflate` costs time and helps only sparse contents.
void write_npz(const std::string& path, const NamedTensors& tensors, bool deflate = false);

/// The bytes and nothing else, little-endian, C order. Not for strings. The file must have exactly the size.
Tensor read_raw(const std::string& path, DType dtype, Dims dims);
void write_raw(const std::string& path, const Tensor& tensor);

/// What an array read from a file means as `dtype`: the same tensor where the types agree, the bits of a uint16 as
/// bfloat16 or float16, of a uint8 as an fp8 kind, (u)int8 packed to a narrower integer or to float4 codes. Everything
/// else is an error that names both types; values are never converted.
Tensor npy_view_as(const Tensor& tensor, DType dtype);

}  // namespace tenon
