#include "cpu/transpose.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "cpu/gemm_thin.hpp"

namespace tenon::cpu {
namespace {

using Dim = CopyPlan::Dim;

// In-register transposes with 16-byte vectors: every instruction set we build for has them, and beyond L1 memory is the
// limit.

template <class T>
struct TileOf {
  static constexpr int64_t kSide = 16 / static_cast<int64_t>(sizeof(T));
};

/// One pass of log2(side): rows i and i + side / 2 are interleaved into rows 2i and 2i + 1.
template <class V, size_t... I>
inline V low_half(V a, V b, std::index_sequence<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (static_cast<int>(I) / 2 + (I % 2 ? n : 0))...);
}
template <class V, size_t... I>
inline V high_half(V a, V b, std::index_sequence<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (n / 2 + static_cast<int>(I) / 2 + (I % 2 ? n : 0))...);
}

/// dst[j][i] = src[i][j] for a square of 16 bytes' width.
template <class T>
inline void transpose_square(const char* src, int64_t src_row, char* dst, int64_t dst_row) {
  constexpr int kSide = TileOf<T>::kSide;
  typedef T V __attribute__((vector_size(16)));
  using Lanes = std::make_index_sequence<kSide>;
  V a[kSide], b[kSide];
  for (int i = 0; i < kSide; ++i) std::memcpy(&a[i], src + i * src_row, 16);
  for (int pass = kSide; pass > 1; pass /= 2) {
    for (int i = 0; i < kSide / 2; ++i) {
      b[2 * i] = low_half(a[i], a[i + kSide / 2], Lanes());
      b[2 * i + 1] = high_half(a[i], a[i + kSide / 2], Lanes());
    }
    for (int i = 0; i < kSide; ++i) a[i] = b[i];
  }
  for (int i = 0; i < kSide; ++i) std::memcpy(dst + i * dst_row, &a[i], 16);
}

template <class T>
void copy_elements(const char* src, int64_t src_step, char* dst, int64_t dst_step, int64_t n) {
  for (int64_t i = 0; i < n; ++i) std::memcpy(dst + i * dst_step, src + i * src_step, sizeof(T));
}

/// dst[x][y] = src[y][x] for x in [x0, x1), y in [0, rows): a.src and b.dst are one element.
template <class T>
void transpose_strip(const Dim& a, const Dim& b, const char* src, char* dst, int64_t x0, int64_t x1) {
  constexpr int64_t kSide = TileOf<T>::kSide, kLine = 64 / static_cast<int64_t>(sizeof(T)), kSize = sizeof(T);
  // Squares of one cache line by one cache line: each line read or written is used up while it is in L1.
  for (int64_t y = 0; y < b.size; y += kLine) {
    const int64_t y_end = std::min(b.size, y + kLine), y_whole = y + (y_end - y) / kSide * kSide;
    for (int64_t xl = x0; xl < x1; xl += kLine) {
      const int64_t x_end = std::min(x1, xl + kLine), x_whole = xl + (x_end - xl) / kSide * kSide;
      for (int64_t x = xl; x < x_whole; x += kSide) {
        for (int64_t yy = y; yy < y_whole; yy += kSide) {
          transpose_square<T>(src + yy * b.src + x * kSize, b.src, dst + x * a.dst + yy * kSize, a.dst);
        }
        for (int64_t i = x; i < x + kSide && y_whole < y_end; ++i) {
          copy_elements<T>(src + y_whole * b.src + i * kSize, b.src, dst + i * a.dst + y_whole * kSize, kSize,
                           y_end - y_whole);
        }
      }
      for (int64_t i = x_whole; i < x_end; ++i) {
        copy_elements<T>(src + y * b.src + i * kSize, b.src, dst + i * a.dst + y * kSize, kSize, y_end - y);
      }
    }
  }
}

template <class F>
void with_element(int size, F f) {
  switch (size) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}

struct Offset {
  int64_t src = 0, dst = 0;
};

Offset outer_offset(const CopyPlan& plan, int64_t index) {
  Offset out;
  for (int d = plan.rank - 1; d >= 0; --d) {
    const int64_t i = index % plan.outer[d].size;
    index /= plan.outer[d].size;
    out.src += i * plan.outer[d].src;
    out.dst += i * plan.outer[d].dst;
  }
  return out;
}

/// Moves to the next outer index without a division a step.
class OuterWalk {
 public:
  OuterWalk(const CopyPlan& plan, int64_t start) : plan_(plan), at_(outer_offset(plan, start)) {
    for (int d = plan.rank - 1; d >= 0; --d) {
      index_[d] = start % plan.outer[d].size;
      start /= plan.outer[d].size;
    }
  }
  const Offset& at() const { return at_; }
  void next() {
    for (int d = plan_.rank - 1; d >= 0; --d) {
      const Dim& dim = plan_.outer[d];
      const int64_t move = ++index_[d] < dim.size ? 1 : 1 - dim.size;
      at_.src += move * dim.src;
      at_.dst += move * dim.dst;
      if (move == 1 && dim.size != 1) return;
      index_[d] = 0;
    }
  }

 private:
  const CopyPlan& plan_;
  Offset at_;
  int64_t index_[CopyPlan::kMaxDims];
};

constexpr int64_t kStrip = 128;  // columns of one tiles unit

int64_t outer_size(const CopyPlan& plan) {
  int64_t n = 1;
  for (int d = 0; d < plan.rank; ++d) n *= plan.outer[d].size;
  return n;
}

/// Sorted by the destination's strides, ones dropped, neighbours merged.
std::vector<Dim> collapse(std::vector<Dim> dims) {
  std::erase_if(dims, [](const Dim& d) { return d.size == 1; });
  std::stable_sort(dims.begin(), dims.end(),
                   [](const Dim& x, const Dim& y) { return std::abs(x.dst) > std::abs(y.dst); });
  std::vector<Dim> out;
  for (const Dim& d : dims) {
    if (!out.empty() && out.back().src == d.src * d.size && out.back().dst == d.dst * d.size) {
      out.back() = {out.back().size * d.size, d.src, d.dst};
    } else {
      out.push_back(d);
    }
  }
  return out;
}

}  // namespace

CopyPlan make_copy(int element_size, std::span<const int64_t> dims, std::span<const int64_t> src_strides,
                   std::span<const int64_t> dst_strides) {
  TENON_CHECK(dims.size() == src_strides.size() && dims.size() == dst_strides.size());
  TENON_CHECK(element_size == 1 || element_size == 2 || element_size == 4 || element_size == 8);
  CopyPlan plan;
  plan.element = element_size;
  plan.bytes = element_size;
  std::vector<Dim> all;
  for (size_t d = 0; d < dims.size(); ++d) {
    all.push_back({dims[d], src_strides[d] * element_size, dst_strides[d] * element_size});
    plan.bytes *= dims[d];
  }
  all = collapse(std::move(all));
  if (all.size() > CopyPlan::kMaxDims)
    fail(Code::kUnsupported, "a copy of {} dimensions that do not merge", all.size());
  plan.row_bytes = element_size;
  if (!all.empty() && all.back().src == element_size && all.back().dst == element_size) {
    plan.row_bytes = all.back().size * element_size;
    all.pop_back();
  } else if (!all.empty()) {
    plan.kind = CopyPlan::Kind::kElements;
    const Dim inner = all.back();
    const auto contiguous = std::find_if(all.begin(), all.end(), [&](const Dim& d) { return d.src == element_size; });
    if (inner.dst == element_size && contiguous != all.end() && inner.size > 1) {
      plan.kind = CopyPlan::Kind::kTiles;
      plan.a = *contiguous;
      plan.b = inner;
      all.erase(contiguous);
    } else {
      plan.a = inner;
    }
    all.pop_back();
  }
  plan.rank = static_cast<int>(all.size());
  std::copy(all.begin(), all.end(), plan.outer.begin());
  return plan;
}

CopyPlan make_transpose(int element_size, std::span<const int64_t> src_dims, std::span<const int64_t> perm) {
  TENON_CHECK(src_dims.size() == perm.size());
  const size_t rank = perm.size();
  std::vector<int64_t> natural(rank, 1), dims(rank), src(rank), dst(rank, 1);
  for (size_t d = rank; d-- > 1;) natural[d - 1] = natural[d] * src_dims[d];
  for (size_t d = 0; d < rank; ++d) {
    TENON_CHECK(perm[d] >= 0 && perm[d] < static_cast<int64_t>(rank));
    dims[d] = src_dims[perm[d]];
    src[d] = natural[perm[d]];
  }
  for (size_t d = rank; d-- > 1;) dst[d - 1] = dst[d] * dims[d];
  return make_copy(element_size, dims, src, dst);
}

namespace {

void run_rows(const CopyPlan& plan, const char* src, char* dst, int64_t begin, int64_t end) {
  OuterWalk walk(plan, begin);
  for (int64_t i = begin; i < end; ++i, walk.next()) {
    std::memcpy(dst + walk.at().dst, src + walk.at().src, static_cast<size_t>(plan.row_bytes));
  }
}

void run_elements(const CopyPlan& plan, const char* src, char* dst, int64_t begin, int64_t end) {
  OuterWalk walk(plan, begin);
  with_element(plan.element, [&](auto element) {
    using T = decltype(element);
    for (int64_t i = begin; i < end; ++i, walk.next()) {
      copy_elements<T>(src + walk.at().src, plan.a.src, dst + walk.at().dst, plan.a.dst, plan.a.size);
    }
  });
}

void run_tiles(const CopyPlan& plan, const char* src, char* dst, int64_t begin, int64_t end) {
  const int64_t strips = (plan.a.size + kStrip - 1) / kStrip;
  with_element(plan.element, [&](auto element) {
    using T = decltype(element);
    const bool pixels = sizeof(T) == 1 && plan.b.size == 3 && plan.a.dst == 3;  // of an image: three planes to one
    for (int64_t unit = begin; unit < end; ++unit) {
      const Offset at = outer_offset(plan, unit / strips);
      const int64_t x0 = unit % strips * kStrip, x1 = std::min(plan.a.size, x0 + kStrip);
      if (pixels) {
        const auto* from = reinterpret_cast<const uint8_t*>(src + at.src + x0);
        thin_kernels().interleave3_bytes(from, from + plan.b.src, from + 2 * plan.b.src, x1 - x0,
                                         reinterpret_cast<uint8_t*>(dst + at.dst + 3 * x0));
        continue;
      }
      transpose_strip<T>(plan.a, plan.b, src + at.src, dst + at.dst, x0, x1);
    }
  });
}

constexpr int64_t kGrainBytes = 1 << 16;

}  // namespace

void run_copy(const CopyPlan& plan, const void* src, void* dst, ThreadPool& pool) {
  if (plan.bytes == 0) return;
  const char* from = static_cast<const char*>(src);
  char* to = static_cast<char*>(dst);
  const int64_t outer = outer_size(plan);
  if (plan.kind == CopyPlan::Kind::kTiles) {
    const int64_t units = outer * ((plan.a.size + kStrip - 1) / kStrip);
    pool.run_ranges(units, 1 + kGrainBytes / (std::min(kStrip, plan.a.size) * plan.b.size * plan.element),
                    [&](int64_t begin, int64_t end) { run_tiles(plan, from, to, begin, end); });
  } else if (plan.kind == CopyPlan::Kind::kElements) {
    pool.run_ranges(outer, 1 + kGrainBytes / (plan.a.size * plan.element),
                    [&](int64_t begin, int64_t end) { run_elements(plan, from, to, begin, end); });
  } else if (outer == 1) {  // one long row: cut it
    pool.run_ranges(plan.row_bytes, kGrainBytes, [&](int64_t begin, int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
    });
  } else {
    pool.run_ranges(outer, 1 + kGrainBytes / plan.row_bytes,
                    [&](int64_t begin, int64_t end) { run_rows(plan, from, to, begin, end); });
  }
}

template <class Index>
void gather_rows(const void* table, int64_t table_rows, int64_t row_bytes, const Index* index, int64_t count, void* out,
                 ThreadPool& pool) {
  const char* from = static_cast<const char*>(table);
  char* to = static_cast<char*>(out);
  pool.run_ranges(count, 1 + kGrainBytes / std::max<int64_t>(row_bytes, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t at = index[i];
      expect(at >= -table_rows && at < table_rows, "index {} at position {} is outside a table of {} rows", at, i,
             table_rows);
      if (at < 0) at += table_rows;
      std::memcpy(to + i * row_bytes, from + at * row_bytes, static_cast<size_t>(row_bytes));
    }
  });
}

template void gather_rows<int32_t>(const void*, int64_t, int64_t, const int32_t*, int64_t, void*, ThreadPool&);
template void gather_rows<int64_t>(const void*, int64_t, int64_t, const int64_t*, int64_t, void*, ThreadPool&);

}  // namespace tenon::cpu
