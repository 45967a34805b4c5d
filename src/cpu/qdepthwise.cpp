#include "cpu/qdepthwise.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "cpu/qdepthwise_kernels.hpp"

namespace tenon::cpu {
namespace {

using q::BlobHeader, q::kBlock, q::kTileCols, q::kMaxTileRows;

void check(const QConvShape& s) {
  expect(s.groups == s.in_c && s.in_c == s.out_c,
         "A depthwise convolution has as many groups as input and output channels, not {}, {} and {}; use qconv().",
         s.groups, s.in_c, s.out_c);
  expect(s.kernel_h >= 1 && s.kernel_w >= 1 && s.stride_h >= 1 && s.stride_w >= 1 && s.dilation_h >= 1 &&
             s.dilation_w >= 1,
         "A convolution needs kernel {}x{}, strides {}x{} and dilations {}x{} of at least 1.", s.kernel_h, s.kernel_w,
         s.stride_h, s.stride_w, s.dilation_h, s.dilation_w);
  expect(s.pad_top >= 0 && s.pad_left >= 0 && s.pad_bottom >= 0 && s.pad_right >= 0,
         "Negative padding is no padding of a convolution; slice the input instead.");
}

int64_t blocks_of(int64_t channels) { return (channels + kBlock - 1) / kBlock; }

int64_t row_group(uint32_t layout) { return layout == q::kLayoutDepthwiseI8x4 ? 4 : 2; }

int64_t groups_of(uint32_t layout, int64_t kernel_h) { return (kernel_h + row_group(layout) - 1) / row_group(layout); }

// Bytes of one plane of one block: 64 for each kernel column and group of rows.
int64_t plane_bytes(uint32_t layout, const QConvShape& s) { return s.kernel_w * groups_of(layout, s.kernel_h) * 64; }

// Room for planes: 255 less a zero point of 0 is 127 + 127 + 1.
int64_t planes_of(uint32_t layout) { return layout == q::kLayoutDepthwiseI8x4 ? 3 : 1; }

int32_t weight(const QConvShape& s, const QConvWeights& w, int64_t channel, int64_t row, int64_t column) {
  if (row >= s.kernel_h || channel >= s.out_c) return 0;
  const auto* data = static_cast<const uint8_t*>(w.data) + (channel * s.kernel_h + row) * s.kernel_w + column;
  const int32_t value = w.type == QType::kU8 ? *data : static_cast<int8_t>(*data);
  const int32_t zero_point = w.zero_points ? w.zero_points[w.zero_point_per_channel ? channel : 0] : 0;
  return value - zero_point;
}

struct View {
  int32_t* sums;
  uint8_t* weights;
};

View view(const void* packed, int64_t channels) {
  auto* base = static_cast<uint8_t*>(const_cast<void*>(packed)) + sizeof(BlobHeader);
  return {reinterpret_cast<int32_t*>(base), base + blocks_of(channels) * kBlock * 4};
}

// Writes channel c's weights in one block, and returns how many planes they need.
int pack_channel(uint32_t layout, const QConvShape& s, const QConvWeights& w, int64_t c, uint8_t* block, int32_t* sum) {
  const int64_t groups = groups_of(layout, s.kernel_h), per = row_group(layout);
  int planes = 1;
  uint32_t total = 0;
  for (int64_t j = 0; j < s.kernel_w; ++j)
    for (int64_t i = 0; i < groups * per; ++i) {
      int32_t value = weight(s, w, c, i, j);
      const int64_t at = ((j * groups + i / per) * kBlock + c % kBlock) * per + i % per;
      total += static_cast<uint32_t>(value);
      if (layout == q::kLayoutDepthwiseI16x2) {
        reinterpret_cast<int16_t*>(block)[at] = static_cast<int16_t>(value);
        continue;
      }
      for (int plane = 0; plane < planes_of(layout); ++plane) {
        const int32_t part = std::clamp(value, -128, 127);
        reinterpret_cast<int8_t*>(block + plane * plane_bytes(layout, s))[at] = static_cast<int8_t>(part);
        if (part != 0) planes = std::max(planes, plane + 1);
        value -= part;
      }
    }
  *sum = static_cast<int32_t>(total);
  return planes;
}

// A tile: up to 64 outputs (several lines when they are short) of up to 64 channels.
struct Tiling {
  int64_t oh, ow;
  int64_t lines;   // output lines a tile, when whole lines fit
  int64_t pieces;  // tiles a line, when not
  int64_t row_tiles, col_tiles;

  explicit Tiling(const QConvShape& s) : oh(s.out_h()), ow(s.out_w()) {
    lines = std::clamp<int64_t>(kMaxTileRows / ow, 1, oh);
    pieces = (ow + kMaxTileRows - 1) / kMaxTileRows;
    row_tiles = s.batch * (pieces > 1 ? oh * pieces : (oh + lines - 1) / lines);
    col_tiles = (s.out_c + kTileCols - 1) / kTileCols;
  }
};

struct Memory {
  int64_t acc, fill, rows, columns;
  int64_t total() const { return acc + fill + rows + columns; }
};

Memory memory(uint32_t layout, const QConvShape& s) {
  const int64_t outputs = std::clamp<int64_t>(s.out_w(), 1, kMaxTileRows);
  const int64_t columns = (outputs - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
  return {kMaxTileRows * kTileCols * 4, 64, (s.kernel_h * 8 + 63) / 64 * 64,
          columns * groups_of(layout, s.kernel_h) * 64};
}

class Worker {
 public:
  Worker(const q::Kernels& kernels, q::DepthwiseFn line, const QConvArgs& args, const Tiling& tiling, uint8_t* base)
      : kernels_(kernels),
        run_line_(line),
        args_(args),
        tiling_(tiling),
        header_(*static_cast<const BlobHeader*>(args.packed)) {
    const Memory m = memory(header_.layout, args.shape);
    acc_ = reinterpret_cast<int32_t*>(base);
    fill_ = base + m.acc;
    std::memset(fill_, args.x_zp & 0xFF, kBlock);
    rows_ = reinterpret_cast<const uint8_t**>(fill_ + m.fill);
    columns_ = fill_ + m.fill + m.rows;
    flip_ = static_cast<uint8_t>(args.x_type == QType::kS8 ? 0x80 : 0);
  }

  void item(int64_t index) {
    const QConvShape& s = args_.shape;
    const int64_t col = index % tiling_.col_tiles * kTileCols;
    const int64_t tile = index / tiling_.col_tiles;
    const int64_t per_image = tiling_.row_tiles / s.batch;
    const int64_t n = tile / per_image, at = tile % per_image;
    const int64_t cols = std::min(kTileCols, s.out_c - col);
    if (tiling_.pieces > 1) {
      const int64_t y = at / tiling_.pieces, piece = at % tiling_.pieces;
      const int64_t x = tiling_.ow * piece / tiling_.pieces;
      const int64_t count = tiling_.ow * (piece + 1) / tiling_.pieces - x;
      outputs(n, y, x, count, col, cols, 0);
      finish((n * tiling_.oh + y) * tiling_.ow + x, count, col, cols);
    } else {
      const int64_t first = at * tiling_.lines, last = std::min(first + tiling_.lines, tiling_.oh);
      for (int64_t y = first; y < last; ++y) outputs(n, y, 0, tiling_.ow, col, cols, (y - first) * tiling_.ow);
      finish((n * tiling_.oh + first) * tiling_.ow, (last - first) * tiling_.ow, col, cols);
    }
  }

 private:
  void outputs(int64_t n, int64_t y, int64_t x, int64_t count, int64_t col, int64_t cols, int64_t acc_row) {
    const QConvShape& s = args_.shape;
    q::DepthwiseLine l{rows_,      fill_,      args_.pixel_stride, s.in_w,       x * s.stride_w - s.pad_left,
                       s.kernel_h, s.kernel_w, s.stride_w,         s.dilation_w, count,
                       0,          flip_,      header_.planes,     nullptr,      columns_,
                       nullptr};
    const int64_t block_bytes = plane_bytes(header_.layout, s) * planes_of(header_.layout);
    for (int64_t c = 0; c < cols; c += kBlock) {
      const auto* image = static_cast<const uint8_t*>(args_.x) + n * args_.batch_stride + col + c;
      for (int64_t i = 0; i < s.kernel_h; ++i) {
        const int64_t iy = y * s.stride_h - s.pad_top + i * s.dilation_h;
        rows_[i] = iy >= 0 && iy < s.in_h ? image + iy * args_.row_stride : nullptr;
      }
      l.channels = std::min(kBlock, cols - c);
      l.weights = view(args_.packed, s.out_c).weights + (col + c) / kBlock * block_bytes;
      l.acc = acc_ + acc_row * kTileCols + c;
      run_line_(l);
    }
  }

  void finish(int64_t row, int64_t rows, int64_t col, int64_t cols) {
    alignas(64) int32_t terms[kTileCols] = {};
    const auto zp = static_cast<uint32_t>(args_.x_zp + flip_);
    const int32_t* sums = view(args_.packed, args_.shape.out_c).sums + col;
    const int32_t* bias = args_.epilogue.acc_bias;
    for (int64_t c = 0; c < cols; ++c) {
      const uint32_t b = bias ? static_cast<uint32_t>(bias[col + c]) : 0;
      terms[c] = static_cast<int32_t>(b - zp * static_cast<uint32_t>(sums[c]));
    }
    finish_tile(kernels_, {&args_.epilogue, acc_, row, rows, col, cols, terms, nullptr, nullptr});
  }

  const q::Kernels& kernels_;
  q::DepthwiseFn run_line_;
  const QConvArgs& args_;
  const Tiling& tiling_;
  const BlobHeader& header_;
  int32_t* acc_;
  uint8_t* fill_;
  const uint8_t** rows_;
  uint8_t* columns_;
  uint8_t flip_;
};

}  // namespace

uint32_t qdepthwise_layout(QIsa isa) noexcept {
  return isa >= QIsa::kVnni ? q::kLayoutDepthwiseI8x4 : q::kLayoutDepthwiseI16x2;
}

size_t qdepthwise_packed_size(uint32_t layout, const QConvShape& s) {
  check(s);
  expect(layout == q::kLayoutDepthwiseI8x4 || layout == q::kLayoutDepthwiseI16x2,
         "Layout {:#x} is no layout of depthwise weights; ask qdepthwise_layout().", layout);
  const int64_t block = plane_bytes(layout, s) * planes_of(layout) + kBlock * 4;
  return sizeof(BlobHeader) + static_cast<size_t>(checked_mul(block, blocks_of(s.out_c)));
}

void qdepthwise_pack(uint32_t layout, const QConvShape& s, const QConvWeights& weights, void* packed) {
  check(s);
  const View out = view(packed, s.out_c);
  const int64_t block_bytes = plane_bytes(layout, s) * planes_of(layout);
  int planes = 1;
  for (int64_t c = 0; c < blocks_of(s.out_c) * kBlock; ++c) {
    planes =
        std::max(planes, pack_channel(layout, s, weights, c, out.weights + c / kBlock * block_bytes, out.sums + c));
  }
  q::pack_header(
      {layout, 0, static_cast<uint16_t>(planes), 1, s.out_c, s.kernel_h * s.kernel_w, s.kernel_h, s.kernel_w}, packed);
}

size_t qdepthwise_workspace(QIsa isa, const QConvShape& s, int threads) {
  check(s);
  return static_cast<size_t>(memory(qdepthwise_layout(isa), s).total() * std::max(threads, 1));
}

void qdepthwise(QIsa isa, const QConvArgs& args, void* workspace, ThreadPool& pool) {
  const QConvShape& s = args.shape;
  check(s);
  const q::Kernels& kernels = q::kernels_or_fail(isa);
  const auto& header = *static_cast<const BlobHeader*>(args.packed);
  expect(header.layout == qdepthwise_layout(isa) && header.planes >= 1 && header.planes <= 3 && header.n == s.out_c &&
             header.k_padded == s.kernel_h && header.k_chunk == s.kernel_w,
         "The packed depthwise weights (layout {:#x}, {} channels, {}x{}) are not those of the operation (layout "
         "{:#x}, {} "
         "channels, {}x{}); pack them again.",
         header.layout, header.n, header.k_padded, header.k_chunk, qdepthwise_layout(isa), s.out_c, s.kernel_h,
         s.kernel_w);
  const int32_t lowest = args.x_type == QType::kS8 ? -128 : 0;
  expect(args.x_zp >= lowest && args.x_zp <= lowest + 255, "The zero point {} is not a value of the activations.",
         args.x_zp);
  if (s.batch == 0 || s.out_h() <= 0 || s.out_w() <= 0) return;
  const q::DepthwiseFn line = isa >= QIsa::kVnni ? q::depthwise_vnni() : q::depthwise_simd(isa);
  const Tiling tiling(s);
  const int64_t items = tiling.row_tiles * tiling.col_tiles;
  const int64_t bytes = memory(header.layout, s).total();
  std::atomic<int64_t> next{0};
  pool.run(std::min<int64_t>(pool.threads(), items), [&](int64_t part) {
    Worker worker(kernels, line, args, tiling, static_cast<uint8_t*>(workspace) + part * bytes);
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < items;) worker.item(i);
  });
}

}  // namespace tenon::cpu
