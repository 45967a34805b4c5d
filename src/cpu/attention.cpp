#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include "cpu/attention.hpp"

#include <algorithm>

#include "cpu/gemm.hpp"
#include "cpu/gemm_block.hpp"
#include "cpu/gemm_thin.hpp"
#include "cpu/gemm_tile.hpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Highway first
#include "cpu/math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace tenon::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kLanes = HWY_LANES(float);
constexpr float kLowest = -std::numeric_limits<float>::infinity();

float row_max(const float* x, int64_t n) {
  V m0(kLowest), m1(kLowest);
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    m0 = max(m0, load(x + i));
    m1 = max(m1, load(x + i + kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) m0 = max(m0, load(x + i));
  if (i < n) m0 = max(m0, load_n(x + i, n - i, kLowest));
  return max_lanes(max(m0, m1));
}

float row_exp(float* x, int64_t n, float shift) {
  const V s(shift);
  V sum(0.0);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const V e = exp(load(x + i) - s);
    store(e, x + i);
    sum = sum + e;
  }
  if (i < n) {
    const V e = exp(load_n(x + i, n - i, kLowest) - s);
    store_n(e, x + i, n - i);
    sum = sum + e;
  }
  return sum_lanes(sum);
}

void row_add(float* x, const float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(load(x + i) + load(y + i), x + i);
  if (i < n) store_n(load_n(x + i, n - i) + load_n(y + i, n - i), x + i, n - i);
}

void row_scale(float* x, int64_t n, float factor) {
  const V f(factor);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(load(x + i) * f, x + i);
  if (i < n) store_n(load_n(x + i, n - i) * f, x + i, n - i);
}

}  // namespace

/// One row of scores of a block of keys becomes its share of the softmax. `top` and `sum` run over the blocks; returns
/// what the results so far are to be multiplied with.
float softmax_block(float* x, int64_t n, float* top, float* sum) {
  const float here = row_max(x, n);
  const float largest = here > *top || here != here ? here : *top;  // a NaN stays
  if (largest == kLowest) {                                         // nothing is seen yet
    std::fill(x, x + n, 0.0f);
    return 1.0f;
  }
  const float factor = *top == kLowest ? 0.0f : ::expf(*top - largest);
  *sum = *sum * factor + row_exp(x, n, largest);
  *top = largest;
  return factor;
}
void add_row(float* x, const float* y, int64_t n) { row_add(x, y, n); }
void scale_row(float* x, int64_t n, float factor) { row_scale(x, n, factor); }

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(softmax_block);
HWY_EXPORT(add_row);
HWY_EXPORT(scale_row);

namespace {

// A block of scores and what it is multiplied with stay in the second-level cache.
constexpr int64_t kQueryBlock = 56;  // a multiple of the tile's rows
constexpr int64_t kKeyBlock = 512;
constexpr float kMasked = -std::numeric_limits<float>::infinity();

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t align16(int64_t floats) { return ceil_div(floats, 16) * 16; }

struct RowKernels {
  float (*softmax_block)(float*, int64_t, float*, float*);
  void (*add)(float*, const float*, int64_t);
  void (*scale)(float*, int64_t, float);
};

struct Sizes {
  int64_t query_block, key_block, key_blocks, k_floats, v_floats, scores, thread_floats;
  bool packed;
};

Sizes sizes_of(const Attention& a) {
  Sizes s{};
  s.packed = a.queries > kThinRows;
  s.query_block = s.packed ? std::min(a.queries, kQueryBlock) : 1;
  s.key_block = std::max<int64_t>(1, std::min(a.keys, kKeyBlock));
  s.key_blocks = ceil_div(a.keys, s.key_block);
  // Each block of keys is packed by itself: its columns of K', its rows of V.
  s.k_floats = s.packed ? align16(static_cast<int64_t>(packed_b_floats(a.size, s.key_block))) : 0;
  s.v_floats = s.packed ? align16(static_cast<int64_t>(packed_b_floats(s.key_block, a.v_size))) : 0;
  s.scores = align16(s.key_block);
  s.thread_floats = s.query_block * s.scores + align16(2 * s.query_block) + align16(a.v_size);
  return s;
}

class Run {
 public:
  Run(const Attention& a, const float* q, const float* k, const float* v, const void* mask, float* out,
      float* workspace)
      : a_(a), s_(sizes_of(a)), q_(q), k_(k), v_(v), mask_(mask), out_(out) {
    packed_ = workspace;
    scratch_ = workspace + a.batch * a.kv_heads * s_.key_blocks * (s_.k_floats + s_.v_floats);
    rows_ = {HWY_DYNAMIC_DISPATCH(softmax_block), HWY_DYNAMIC_DISPATCH(add_row), HWY_DYNAMIC_DISPATCH(scale_row)};
  }

  void pack(int64_t part) const {
    const int64_t head = part / s_.key_blocks, block = part % s_.key_blocks;
    const int64_t b = head / a_.kv_heads, h = head % a_.kv_heads;
    const int64_t first = block * s_.key_block, count = std::min(s_.key_block, a_.keys - first);
    float* to = packed_ + part * (s_.k_floats + s_.v_floats);
    pack_b(k_ + b * a_.k.batch + h * a_.k.head + first * a_.k.row, 1, a_.k.row, a_.size, count, to, a_.scale);
    pack_b(v_ + b * a_.v.batch + h * a_.v.head + first * a_.v.row, a_.v.row, 1, count, a_.v_size, to + s_.k_floats);
  }

  void queries(int64_t part, int64_t parts_a_head, int worker) const {
    const int64_t head = part / parts_a_head, b = head / a_.heads, h = head % a_.heads;
    const int64_t first = part % parts_a_head * s_.query_block;
    const int64_t count = std::min(s_.query_block, a_.queries - first);
    const int64_t kv = h / (a_.heads / a_.kv_heads);
    float* scores = scratch_ + worker * s_.thread_floats;
    float* top = scores + s_.query_block * s_.scores;
    float* sum = top + s_.query_block;
    std::fill(top, top + count, kMasked);
    std::fill(sum, sum + count, 0.0f);
    float* out = out_ + b * a_.out.batch + h * a_.out.head + first * a_.out.row;
    for (int64_t i = 0; i < count; ++i) std::fill_n(out + i * a_.out.row, a_.v_size, 0.0f);
    for (int64_t block = 0; block < s_.key_blocks; ++block) {
      const int64_t key = block * s_.key_block, keys = std::min(s_.key_block, a_.keys - key);
      if (a_.causal && key > first + count - 1 + a_.past) break;
      const Block at{b, h, kv, first, count, key, keys, block};
      score(at, scores);
      for (int64_t i = 0; i < count; ++i) {
        float* row = scores + i * s_.scores;
        hide(at, i, row);
        const float factor = rows_.softmax_block(row, keys, top + i, sum + i);
        if (factor != 1.0f && block > 0) rows_.scale(out + i * a_.out.row, a_.v_size, factor);
      }
      gather(at, scores, out, sum + s_.query_block);
    }
    for (int64_t i = 0; i < count; ++i) {
      if (sum[i] != 0.0f) rows_.scale(out + i * a_.out.row, a_.v_size, 1.0f / sum[i]);
    }
  }

  const Sizes& sizes() const { return s_; }

 private:
  struct Block {
    int64_t b, h, kv, first, count, key, keys, index;
  };

  const float* packed_block(const Block& at) const {
    return packed_ + ((at.b * a_.kv_heads + at.kv) * s_.key_blocks + at.index) * (s_.k_floats + s_.v_floats);
  }

  void product(const float* a, int64_t lda, const float* b, float* c, int64_t ldc, int64_t m, int64_t n, int64_t k,
               bool accumulate) const {
    const TileKernels& kernels = tile_kernels();
    const int64_t origin = 0, width = kernels.panel();
    Tile tile{};
    tile.lda = lda;
    tile.ldc = ldc;
    tile.segments = &origin;
    tile.segment_count = 1;
    tile.segment_length = k;
    tile.accumulate = accumulate;
    const PanelStart zeros(nullptr, 0, 0);
    tile.init = zeros.values;
    for (int64_t col = 0; col < n; col += width) {
      tile.cols = std::min(width, n - col);
      tile.a = a;
      tile.b = b + col * k;
      tile.c = c + col;
      run_rows(kernels, kernels.tile[panel_vectors(kernels, tile.cols)], tile, m);
    }
  }

  void score(const Block& at, float* scores) const {
    const float* q = q_ + at.b * a_.q.batch + at.h * a_.q.head + at.first * a_.q.row;
    if (s_.packed) return product(q, a_.q.row, packed_block(at), scores, s_.scores, at.count, at.keys, a_.size, false);
    const float* k = k_ + at.b * a_.k.batch + at.kv * a_.k.head + at.key * a_.k.row;
    thin_kernels().by_columns({q, a_.q.row, at.count, k, a_.k.row, a_.size, at.keys, scores, s_.scores});
    for (int64_t i = 0; i < at.count; ++i) rows_.scale(scores + i * s_.scores, at.keys, a_.scale);
  }

  void hide(const Block& at, int64_t i, float* row) const {
    const int64_t query = at.first + i;
    if (mask_ != nullptr) {
      const int64_t offset = at.b * a_.mask_batch + at.h * a_.mask_head + query * a_.mask_row + at.key * a_.mask_key;
      if (a_.mask_is_bool) {
        const auto* m = static_cast<const uint8_t*>(mask_) + offset;
        for (int64_t j = 0; j < at.keys; ++j) row[j] = m[j * a_.mask_key] != 0 ? row[j] : kMasked;
      } else if (a_.mask_key == 1) {
        rows_.add(row, static_cast<const float*>(mask_) + offset, at.keys);
      } else {
        const auto* m = static_cast<const float*>(mask_) + offset;
        for (int64_t j = 0; j < at.keys; ++j) row[j] += m[j * a_.mask_key];
      }
    }
    if (!a_.causal) return;
    const int64_t seen = std::clamp<int64_t>(query + a_.past + 1 - at.key, 0, at.keys);
    std::fill(row + seen, row + at.keys, kMasked);
  }

  // out += scores V.
  void gather(const Block& at, const float* scores, float* out, float* sums) const {
    if (s_.packed) {
      return product(scores, s_.scores, packed_block(at) + s_.k_floats, out, a_.out.row, at.count, a_.v_size, at.keys,
                     true);
    }
    const float* v = v_ + at.b * a_.v.batch + at.kv * a_.v.head + at.key * a_.v.row;
    for (int64_t i = 0; i < at.count; ++i) {
      thin_kernels().by_rows({scores + i * s_.scores, s_.scores, 1, v, a_.v.row, at.keys, a_.v_size, sums, a_.v_size});
      rows_.add(out + i * a_.out.row, sums, a_.v_size);
    }
  }

  const Attention& a_;
  Sizes s_;
  const float *q_, *k_, *v_;
  const void* mask_;
  float* out_;
  float *packed_, *scratch_;
  RowKernels rows_;
};

}  // namespace

int64_t attention_workspace_floats(const Attention& a, int threads) {
  const Sizes s = sizes_of(a);
  return a.batch * a.kv_heads * s.key_blocks * (s.k_floats + s.v_floats) + threads * s.thread_floats;
}

void attention(const Attention& a, const float* q, const float* k, const float* v, const void* mask, float* out,
               float* workspace, ThreadPool& pool) {
  const Run run(a, q, k, v, mask, out, workspace);
  const Sizes& s = run.sizes();
  const int64_t blocks = ceil_div(a.queries, s.query_block), parts = a.batch * a.heads * blocks;
  const double work = 2.0 * static_cast<double>(parts * s.query_block) * static_cast<double>(a.keys) *
                      static_cast<double>(a.size + a.v_size);
  const int64_t packs = s.packed ? a.batch * a.kv_heads * s.key_blocks : 0;
  if (work < 2e6) {  // not worth waking a thread
    for (int64_t i = 0; i < packs; ++i) run.pack(i);
    for (int64_t i = 0; i < parts; ++i) run.queries(i, blocks, 0);
    return;
  }
  pool.run(packs, [&](int64_t i) { run.pack(i); });
  pool.run_indexed(parts, [&](int64_t part, int worker) { run.queries(part, blocks, worker); });
}

}  // namespace tenon::cpu
#endif
