#include "cpu/qconv.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "cpu/qgemm_kernels.hpp"

namespace tenon::cpu {
namespace {

void check(const QConvShape& s) {
  expect(s.groups >= 1 && s.in_c % s.groups == 0 && s.out_c % s.groups == 0,
         "A convolution of {} to {} channels cannot have {} groups; both counts must be multiples of it.", s.in_c,
         s.out_c, s.groups);
  expect(s.kernel_h >= 1 && s.kernel_w >= 1 && s.stride_h >= 1 && s.stride_w >= 1 && s.dilation_h >= 1 &&
             s.dilation_w >= 1,
         "A convolution needs kernel {}x{}, strides {}x{} and dilations {}x{} of at least 1.", s.kernel_h, s.kernel_w,
         s.stride_h, s.stride_w, s.dilation_h, s.dilation_w);
  expect(s.pad_top >= 0 && s.pad_left >= 0 && s.pad_bottom >= 0 && s.pad_right >= 0,
         "Negative padding is no padding of a convolution; slice the input instead.");
}

int64_t depth(const QConvShape& s) { return s.in_c / s.groups * s.kernel_h * s.kernel_w; }

q::Gather make_gather(const QConvArgs& args, int64_t k_padded) {
  const QConvShape& s = args.shape;
  q::Gather g{};
  g.src = static_cast<const uint8_t*>(args.x);
  g.batch_stride = s.batch == 1 ? s.in_h * s.in_w * args.pixel_stride : args.batch_stride;
  g.row_stride = args.row_stride;
  g.pixel_stride = args.pixel_stride;
  g.ih = s.in_h;
  g.iw = s.in_w;
  g.oh = s.out_h();
  g.ow = s.out_w();
  g.kh = s.kernel_h;
  g.kw = s.kernel_w;
  g.sh = s.stride_h;
  g.sw = s.stride_w;
  g.dh = s.dilation_h;
  g.dw = s.dilation_w;
  g.pad_top = s.pad_top;
  g.pad_left = s.pad_left;
  g.channels = s.in_c / s.groups;
  g.k_padded = k_padded;
  g.flip = static_cast<uint8_t>(args.x_type == QType::kS8 ? 0x80 : 0);
  g.fill = static_cast<uint8_t>(args.x_zp + g.flip);
  return g;
}

}  // namespace

size_t qconv_packed_size(uint32_t layout, const QConvShape& shape) {
  check(shape);
  return q::packed_size(layout, shape.groups, depth(shape), shape.out_c / shape.groups);
}

void qconv_pack(uint32_t layout, const QConvShape& shape, const QConvWeights& weights, void* packed) {
  check(shape);
  const int64_t k = depth(shape);
  const int64_t n = shape.out_c / shape.groups;
  const int64_t taps = shape.kernel_h * shape.kernel_w;
  const int64_t channels = shape.in_c / shape.groups;
  q::PackSource source{static_cast<const uint8_t*>(weights.data),
                       weights.type,
                       std::max<int64_t>(channels, 1),
                       1,
                       taps,
                       channels * taps,
                       weights.zero_points,
                       weights.zero_point_per_channel};
  const bool zero_points = q::has_zero_points(source, shape.out_c);
  const auto header = q::make_header(layout, shape.groups, k, n, zero_points);
  q::pack_header(header, packed);
  for (int64_t g = 0; g < shape.groups; ++g) {
    q::pack_group(header, source, g, packed);
    source.data += n * source.col_stride;
    if (source.zero_points && source.zero_point_per_column) source.zero_points += n;
  }
}

size_t qconv_workspace(QIsa isa, const QConvShape& shape, int threads) {
  check(shape);
  return q::workspace(isa, depth(shape), threads);
}

void qconv(QIsa isa, const QConvArgs& args, void* workspace, ThreadPool& pool) {
  const QConvShape& s = args.shape;
  check(s);
  const q::Kernels& kernels = q::kernels_or_fail(isa);
  const int64_t n = s.out_c / s.groups;
  const auto& header = q::checked_header(args.packed, kernels.layout, s.groups, depth(s), n);
  const int32_t lowest = args.x_type == QType::kS8 ? -128 : 0;
  expect(args.x_zp >= lowest && args.x_zp <= lowest + 255, "The zero point {} is not a value of the activations.",
         args.x_zp);
  if (s.batch == 0 || s.out_h() <= 0 || s.out_w() <= 0) return;
  const q::Gather g = make_gather(args, header.k_padded);
  const int64_t rows = s.batch * g.oh * g.ow;
  q::run(kernels, {g, rows, s.groups, n, g.fill, args.packed, &args.epilogue}, workspace, pool);
}

}  // namespace tenon::cpu
