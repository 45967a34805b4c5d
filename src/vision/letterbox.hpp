// From a picture to a network's input and back: how the picture is fitted into W x H, how pixels become
// numbers, and the inverse map for boxes. The arithmetic follows what the models were trained with:
// Ultralytics' letterbox on OpenCV's fixed-point bilinear, YOLOX's top-left variant, plain stretch, and
// torchvision's resize-256 / crop-224 on Pillow's antialiased bilinear. Pure functions; any thread may call
// them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tenon/types.hpp"
#include "vision/image.hpp"

namespace tenon::vision {

enum class Fit {
  kLetterbox,         // aspect kept, centred, the rest filled
  kLetterboxTopLeft,  // aspect kept, in the top left corner, the rest filled
  kStretch,           // both sides scaled on their own
  kCropCentre,        // short side to `crop_resize` (antialiased), then the centre W x H
};
enum class ChannelOrder { kRgb, kBgr };
enum class Layout { kNchw, kNhwc };

/// What one network wants: value = (pixel * scale - mean[c]) / std[c], c in the network's channel order.
struct Preprocess {
  int width = 640;
  int height = 640;
  Fit fit = Fit::kLetterbox;
  bool scale_up = true;  // false: letterbox never enlarges (validation does this)
  uint8_t fill = 114;
  int crop_resize = 256;  // kCropCentre only
  ChannelOrder order = ChannelOrder::kRgb;
  Layout layout = Layout::kNchw;
  DType dtype = DType::kFloat32;  // kFloat32, kFloat16 or kUInt8 (raw pixels: scale 1, mean 0, std 1)
  double scale = 1.0 / 255.0;
  std::array<double, 3> mean = {0, 0, 0};
  std::array<double, 3> std = {1, 1, 1};
};

/// The published recipe of ImageNet classifiers (torchvision): RGB, 256/224, mean and std.
Preprocess imagenet_preprocess(int size = 224);

/// Where the picture lies in the network's input: input = image * scale + offset, per axis.
struct Placement {
  double scale_x = 1;
  double scale_y = 1;
  double offset_x = 0;
  double offset_y = 0;
  int image_width = 0;
  int image_height = 0;

  float x_to_image(float x) const { return static_cast<float>((x - offset_x) / scale_x); }
  float y_to_image(float y) const { return static_cast<float>((y - offset_y) / scale_y); }
};

struct Fitted {
  Image image;  // exactly Preprocess::width x height, RGB
  Placement placement;
};

/// Geometry only.
Fitted fit_image(const Image& image, const Preprocess& how);

/// Bytes of one picture's tensor: 3 x W x H elements.
size_t tensor_bytes(const Preprocess& how);
/// Numbers only: writes the fitted picture in the network's order, layout and type. `out` has
/// tensor_bytes(how) bytes and needs no alignment beyond its element's.
void write_tensor(const Image& fitted, const Preprocess& how, std::span<std::byte> out);

/// Both steps: the tensor's bytes, and where the picture lies in it.
Placement preprocess(const Image& image, const Preprocess& how, std::span<std::byte> out);

/// Bilinear with half-pixel centres in 11-bit fixed point: OpenCV's INTER_LINEAR on 8-bit pictures,
/// equal in nearly all pixels, at most 1/255 apart in the others.
Image resize_bilinear(const Image& image, int width, int height);
/// Bilinear whose support grows when shrinking (no aliasing), in 22-bit fixed point: Pillow's BILINEAR.
/// Columns first; Pillow goes rows first for some uneven scales, which changes pixels by at most 1/255.
Image resize_antialiased(const Image& image, int width, int height);

/// Round-to-nearest-even conversion to IEEE half.
uint16_t to_half(float value);

}  // namespace tenon::vision
