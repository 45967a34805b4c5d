// Pictures in files, for the op ImageDecoder: BMP, PNM and plain TIFF by our own readers; JPEG, PNG and WebP by
// libturbojpeg, libpng and libwebp, which are looked for when first needed. Input is untrusted: sizes are checked
// before memory is asked for. Safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tenon {

struct Picture {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;  ///< rows of width * 3 bytes
};

/// Throws invalid-argument for what is damaged, unsupported for other formats, unavailable where a library is missing.
Picture decode_picture(std::span<const uint8_t> bytes);

}  // namespace tenon
