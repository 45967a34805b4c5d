// Internals of npy.cpp and npz.cpp: the .npy header and byte streams. Not for other files.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "tensor/npy.hpp"

namespace tenon::npy {

/// Fills the buffer completely or throws.
using ReadFn = std::function<void(std::byte* out, size_t bytes)>;

/// Reads one .npy image of exactly `total` bytes from `read`. `budget` bounds the memory the tensor takes.
Tensor read_stream(const ReadFn& read, int64_t total, int64_t budget, std::string_view what);

/// Memory that a tensor of this type takes, with a string's object counted.
int64_t memory_of(const Tensor& tensor);

/// A tensor as an .npy file: the header, then `data` (which points into the tensor or into `converted`).
struct Image {
  std::string header;
  std::string converted;
  std::span<const std::byte> data;
};
void make_image(const Tensor& tensor, Image& out);

}  // namespace tenon::npy
