// The two codecs behind image.hpp. Internal: callers use decode_image and friends.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "vision/image.hpp"

namespace tenon::vision {

Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& what);
Image decode_png(std::span<const uint8_t> bytes, const std::string& what);

/// Refuses empty pictures and those above kMaxPixels, before memory is asked for.
void check_image_size(int64_t width, int64_t height, const std::string& what);

}  // namespace tenon::vision
