#include "cpu/qgemm.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string_view>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "cpu/isa.hpp"
#include "cpu/lookup.hpp"
#include "cpu/qdepthwise_kernels.hpp"
#include "cpu/qgemm_kernels.hpp"

namespace tenon::cpu {
namespace q {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kGatherBytes = 512 * 1024;  // of gathered rows: a share of the second-level cache

int64_t multiple(int64_t value, int64_t of) { return (value + of - 1) / of * of; }

int64_t panels_of(int64_t n) { return (n + kPanel - 1) / kPanel; }

int element_bytes(uint32_t layout) { return layout == kLayoutI8x4 ? 1 : 2; }

int64_t group_bytes(uint32_t layout, int64_t k, int64_t n) {
  const int64_t columns = panels_of(n) * kPanel;
  return columns * 8 + columns * padded_k(layout, k) * element_bytes(layout);
}

struct GroupView {
  const int32_t* sums;
  const int32_t* zero_points;
  const uint8_t* panels;
};

GroupView view(const BlobHeader& h, const void* packed, int64_t group) {
  const int64_t columns = panels_of(h.n) * kPanel;
  const auto* p = static_cast<const uint8_t*>(packed) + sizeof(BlobHeader) + group * group_bytes(h.layout, h.k, h.n);
  return {reinterpret_cast<const int32_t*>(p), reinterpret_cast<const int32_t*>(p) + columns, p + columns * 8};
}

}  // namespace

int64_t chunk_k(uint32_t layout, int64_t k) noexcept {
  if (layout != kLayoutI8x4) return 2;
  const int64_t chunks = std::max<int64_t>(1, (k + 63) / 64);
  return std::max<int64_t>(4, multiple((k + chunks - 1) / chunks, 4));
}

int64_t padded_k(uint32_t layout, int64_t k) noexcept { return multiple(std::max<int64_t>(k, 1), chunk_k(layout, k)); }

size_t packed_size(uint32_t layout, int64_t groups, int64_t k, int64_t n) {
  expect(layout == kLayoutI8x4 || layout == kLayoutI16x2, "Layout {:#x} is no layout of 8-bit weights; ask q_layout().",
         layout);
  expect(k >= 0 && n >= 0 && groups >= 1 && k < (int64_t{1} << 31) && n < (int64_t{1} << 31) &&
             groups < (int64_t{1} << 31),
         "8-bit weights of {} groups of {} by {} cannot be packed.", groups, k, n);
  const auto bytes = checked_mul<int64_t>(group_bytes(layout, k, n), groups);
  return static_cast<size_t>(bytes) + sizeof(BlobHeader);
}

BlobHeader make_header(uint32_t layout, int64_t groups, int64_t k, int64_t n, bool has_zero_points) {
  const uint16_t flag = has_zero_points ? 1 : 0;
  return {layout, flag, 1, groups, n, k, padded_k(layout, k), chunk_k(layout, k)};
}

const BlobHeader& checked_header(const void* packed, uint32_t layout, int64_t groups, int64_t k, int64_t n) {
  const auto& h = *static_cast<const BlobHeader*>(packed);
  expect(h.layout == layout,
         "The packed weights have layout {:#x}, but this instruction set needs {:#x}; pack them again.", h.layout,
         layout);
  expect(h.groups == groups && h.k == k && h.n == n && h.k_padded == padded_k(layout, k) &&
             h.k_chunk == chunk_k(layout, k),
         "The packed weights are {} groups of {} by {}, but the operation needs {} groups of {} by {}.", h.groups, h.k,
         h.n, groups, k, n);
  return h;
}

namespace {

// uint8 weights lose 128, and so do their zero points.
int32_t zero_point(const PackSource& s, int64_t n) {
  if (!s.zero_points) return s.type == QType::kU8 ? -128 : 0;
  return s.zero_points[s.zero_point_per_column ? n : 0] - (s.type == QType::kU8 ? 128 : 0);
}

}  // namespace

bool has_zero_points(const PackSource& s, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (zero_point(s, i) != 0) return true;
  }
  return false;
}

void pack_header(const BlobHeader& header, void* packed) {
  TENON_CHECK(reinterpret_cast<uintptr_t>(packed) % kAlign == 0);
  std::memcpy(packed, &header, sizeof header);
}

namespace {

// Columns [n, n + kPanel) of the weights, all as int8: flipping the highest bit takes 128 from a uint8.
template <class T, int Group>
void pack_panel(const BlobHeader& h, const PackSource& s, int64_t n, int32_t* sums, T* panel) {
  const uint8_t flip = s.type == QType::kU8 ? 0x80 : 0;
  const int64_t columns = std::min(h.n - n, kPanel);
  uint32_t totals[kPanel] = {};
  std::fill(panel, panel + kPanel * h.k_padded, T{0});
  for (int64_t outer = 0, k = 0; k < h.k; ++outer) {
    for (int64_t inner = 0; inner < s.inner; ++inner, ++k) {
      const uint8_t* from = s.data + outer * s.outer_stride + inner * s.inner_stride + n * s.col_stride;
      T* to = panel + k / Group * Group * kPanel + k % Group;
      for (int64_t c = 0; c < columns; ++c) {
        const auto w = static_cast<int8_t>(from[c * s.col_stride] ^ flip);
        totals[c] += static_cast<uint32_t>(w);
        to[c * Group] = w;
      }
    }
  }
  for (int64_t c = 0; c < kPanel; ++c) sums[c] = static_cast<int32_t>(totals[c]);
}

}  // namespace

void pack_group(const BlobHeader& h, const PackSource& s, int64_t group, void* packed) {
  const GroupView out = view(h, packed, group);
  auto* sums = const_cast<int32_t*>(out.sums);
  auto* zero_points = const_cast<int32_t*>(out.zero_points);
  auto* panels = const_cast<uint8_t*>(out.panels);
  const int64_t columns = panels_of(h.n) * kPanel;
  const int64_t panel_bytes = kPanel * h.k_padded * element_bytes(h.layout);
  for (int64_t n = 0; n < columns; ++n) zero_points[n] = n < h.n ? zero_point(s, n) : 0;
  for (int64_t n = 0; n < columns; n += kPanel) {
    uint8_t* panel = panels + n / kPanel * panel_bytes;
    if (h.layout == kLayoutI8x4) {
      pack_panel<int8_t, 4>(h, s, n, sums + n, reinterpret_cast<int8_t*>(panel));
    } else {
      pack_panel<int16_t, 2>(h, s, n, sums + n, reinterpret_cast<int16_t*>(panel));
    }
  }
}

// The bounds of the requantised type become bounds of the float value: rounding is monotonic and they are integers.
Parameters::Parameters(const EpilogueTile& t) : lo(t.epilogue->lo), hi(t.epilogue->hi) {
  const QEpilogue& e = *t.epilogue;
  const float factor = e.scale_factor ? *e.scale_factor : 1.0f;
  const float common = (e.scale ? *e.scale : 1.0f) * factor;
  const int64_t columns = multiple(t.cols, 16);
  std::fill(scale, scale + columns, common);
  std::fill(bias, bias + columns, 0.0f);
  if (e.scale && e.scale_per_column) {
    for (int64_t c = 0; c < t.cols; ++c) scale[c] = e.scale[t.col_begin + c] * factor;
  }
  if (e.bias) std::copy(e.bias + t.col_begin, e.bias + t.col_begin + t.cols, bias);
  if (e.kind != QEpilogueKind::kRequant) return;
  const auto least = static_cast<float>((e.out_type == QType::kU8 ? 0 : -128) - e.out_zp);
  lo = std::clamp(lo, least, least + 255.0f);
  hi = std::clamp(hi, least, least + 255.0f);
}

void finish_tile(const Kernels& kernels, const EpilogueTile& t) {
  const QEpilogue& e = *t.epilogue;
  if (e.kind != QEpilogueKind::kRequant || (e.table == nullptr && e.float_table == nullptr)) return kernels.epilogue(t);
  if (e.float_table == nullptr) {
    kernels.epilogue(t);
    auto* out = static_cast<uint8_t*>(e.out) + t.row_begin * e.ld_out + t.col_begin;
    return lookup_bytes(e.table, {out, e.ld_out, e.ld_out, t.rows, t.cols}, out);
  }
  alignas(64) uint8_t bytes[kMaxTileRows * kTileCols];
  QEpilogue local = e;  // of this tile alone, into `bytes`
  if (e.scale && e.scale_per_column) local.scale += t.col_begin;
  if (e.bias) local.bias += t.col_begin;
  local.out = bytes;
  local.ld_out = kTileCols;
  EpilogueTile tile = t;
  tile.epilogue = &local;
  tile.row_begin = tile.col_begin = 0;
  kernels.epilogue(tile);
  lookup_floats(e.float_table, {bytes, kTileCols, e.ld_out, t.rows, t.cols},
                static_cast<float*>(e.out) + t.row_begin * e.ld_out + t.col_begin);
}

namespace {

struct ThreadMemory {
  int64_t max_rows;
  int64_t gather_bytes, acc_bytes, sums_bytes;
  int64_t total() const { return gather_bytes + acc_bytes + sums_bytes; }
};

ThreadMemory thread_memory(int element, int64_t k_padded) {
  ThreadMemory m{kMaxItemRows, 0, kMaxTileRows * kTileCols * 4, kMaxItemRows * 4};
  while (m.max_rows > kUnitRows && m.max_rows * k_padded * element > kGatherBytes) m.max_rows /= 2;
  m.gather_bytes = multiple(m.max_rows * k_padded * element, kAlign);
  return m;
}

// Rows can be read in place when they are bytes as they are, equally spaced, and as deep as the weights.
bool in_place(const Gather& g, int element) {
  return element == 1 && g.flip == 0 && g.kh == 1 && g.kw == 1 && g.sh == 1 && g.sw == 1 && g.oh == g.ih &&
         g.ow == g.iw && g.pad_top == 0 && g.pad_left == 0 && g.channels == g.k_padded &&
         (g.ih == 1 || g.row_stride == g.iw * g.pixel_stride) && g.batch_stride == g.ih * g.iw * g.pixel_stride;
}

// Rows of an item of work. Gathered rows are best used while in the first-level cache; but weights that do not stay in
// the second-level cache had better serve many rows at once.
int64_t item_rows(const BlobHeader& h, int element, int64_t max_rows) {
  const bool many_weights = h.n * h.k_padded * element > kGatherBytes;
  return many_weights ? max_rows : std::min(max_rows, kMaxTileRows);
}

// The grid of work: ranges of rows (in units), groups, ranges of columns (in tiles).
struct Grid {
  int64_t units, row_items, col_tiles, col_items, items;

  Grid(int64_t rows, int64_t groups, int64_t n, int64_t max_rows, int threads) {
    units = (rows + kUnitRows - 1) / kUnitRows;
    const int64_t at_once = max_rows / kUnitRows;
    row_items = std::min(units, multiple((units + at_once - 1) / at_once, threads));
    col_tiles = (n + kTileCols - 1) / kTileCols;
    col_items = std::min<int64_t>(col_tiles, std::max<int64_t>(1, threads / (row_items * groups)));
    items = row_items * groups * col_items;
  }
};

class Worker {
 public:
  Worker(const Kernels& kernels, const Problem& problem, const BlobHeader& header, const ThreadMemory& memory,
         uint8_t* base)
      : kernels_(kernels),
        problem_(problem),
        header_(header),
        gathered_(base),
        acc_(reinterpret_cast<int32_t*>(base + memory.gather_bytes)),
        row_sums_(reinterpret_cast<int32_t*>(base + memory.gather_bytes + memory.acc_bytes)),
        in_place_(in_place(problem.gather, kernels.element_bytes)) {}

  void item(const Grid& grid, int64_t index) {
    const int64_t row_item = index / (problem_.groups * grid.col_items);
    const int64_t group = index / grid.col_items % problem_.groups;
    const int64_t col_item = index % grid.col_items;
    const int64_t row = grid.units * row_item / grid.row_items * kUnitRows;
    const int64_t end = std::min(problem_.rows, grid.units * (row_item + 1) / grid.row_items * kUnitRows);
    const int64_t rows = end - row;
    take_rows(group, row, rows);
    const GroupView weights = view(header_, problem_.packed, group);
    if (header_.has_zero_points) kernels_.row_sums(tile_.a, tile_.lda, rows, header_.k, row_sums_);
    const int64_t last = grid.col_tiles * (col_item + 1) / grid.col_items;
    for (int64_t t = grid.col_tiles * col_item / grid.col_items; t < last; ++t)
      columns(weights, group, row, rows, t * kTileCols);
  }

 private:
  void take_rows(int64_t group, int64_t row, int64_t rows) {
    Gather g = problem_.gather;
    g.src += group * g.channels;
    tile_.k_padded = header_.k_padded;
    tile_.k_chunk = header_.k_chunk;
    tile_.acc = acc_;
    if (in_place_ && (!kernels_.whole_units || rows % kUnitRows == 0 || rows <= kFewRows)) {
      tile_.a = g.src + row * g.pixel_stride;
      tile_.lda = g.pixel_stride;
    } else {
      kernels_.gather(g, row, rows, gathered_);
      tile_.a = gathered_;
      tile_.lda = header_.k_padded;
    }
  }

  void columns(const GroupView& weights, int64_t group, int64_t row, int64_t rows, int64_t col) {
    alignas(64) int32_t terms[kTileCols];
    alignas(64) int32_t factors[kTileCols];
    const int64_t cols = std::min(problem_.n - col, kTileCols);
    tile_.panels = panels_of(cols);
    tile_.panel_stride = kPanel * header_.k_padded * kernels_.element_bytes;
    tile_.b = weights.panels + col / kPanel * tile_.panel_stride;
    alignas(64) int32_t padded_bias[kTileCols] = {};
    const int32_t* bias = problem_.epilogue->acc_bias;
    if (bias) bias += group * problem_.n + col;
    if (bias && cols % kPanel != 0) bias = std::copy(bias, bias + cols, padded_bias) - cols;
    kernels_.column_terms({weights.sums + col, weights.zero_points + col, bias, tile_.panels * kPanel, problem_.a_zp,
                           static_cast<int32_t>(header_.k), terms, factors});
    const int32_t* row_factors = header_.has_zero_points ? factors : nullptr;
    const auto* first = static_cast<const uint8_t*>(tile_.a);
    for (int64_t r = 0; r < rows; r += kMaxTileRows) {
      tile_.rows = std::min(rows - r, kMaxTileRows);
      tile_.a = first + r * tile_.lda * kernels_.element_bytes;
      kernels_.tile(tile_);
      finish_tile(kernels_, {problem_.epilogue, acc_, row + r, tile_.rows, group * problem_.n + col, cols, terms,
                             row_factors, row_sums_ + r});
    }
    tile_.a = first;
  }

  const Kernels& kernels_;
  const Problem& problem_;
  const BlobHeader& header_;
  uint8_t* gathered_;
  int32_t* acc_;
  int32_t* row_sums_;
  bool in_place_;
  Tile tile_{};
};

}  // namespace

size_t workspace(QIsa isa, int64_t k, int threads) {
  const uint32_t layout = q_layout(isa);
  return static_cast<size_t>(thread_memory(element_bytes(layout), padded_k(layout, k)).total() * std::max(threads, 1));
}

void run(const Kernels& kernels, const Problem& problem, void* workspace, ThreadPool& pool) {
  if (problem.rows == 0 || problem.n == 0) return;
  const auto& header = *static_cast<const BlobHeader*>(problem.packed);
  const ThreadMemory memory = thread_memory(kernels.element_bytes, header.k_padded);
  const int64_t at_once = item_rows(header, kernels.element_bytes, memory.max_rows);
  const Grid grid(problem.rows, problem.groups, problem.n, at_once, pool.threads());
  std::atomic<int64_t> next{0};
  pool.run(std::min<int64_t>(pool.threads(), grid.items), [&](int64_t part) {
    Worker worker(kernels, problem, header, memory, static_cast<uint8_t*>(workspace) + part * memory.total());
    if (kernels.begin) kernels.begin(header.k_chunk);
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < grid.items;) worker.item(grid, i);
    if (kernels.end) kernels.end();
  });
}

const Kernels* kernels(QIsa isa) noexcept {
  switch (isa) {
    case QIsa::kVnni: return vnni_kernels();
    case QIsa::kAmx: return amx_kernels();
    default: return simd_kernels(isa);
  }
}

const Kernels& kernels_or_fail(QIsa isa) {
  const Kernels* found = kernels(isa);
  expect(found != nullptr, "This machine cannot run the 8-bit kernels for {}; use q_best_isa().", name(isa));
  return *found;
}

}  // namespace q

const char* name(QIsa isa) noexcept {
  switch (isa) {
    case QIsa::kSse4: return "sse4";
    case QIsa::kAvx2: return "avx2";
    case QIsa::kAvx512: return "avx512";
    case QIsa::kVnni: return "avx512_vnni";
    case QIsa::kAmx: return "amx_int8";
  }
  return "unknown";
}

bool q_available(QIsa isa) noexcept { return q::kernels(isa) != nullptr; }

QIsa q_best_isa() noexcept {
  const std::string_view cap = isa_name();
  const QIsa most = cap == "avx512" ? QIsa::kAmx : cap == "avx2" ? QIsa::kAvx2 : QIsa::kSse4;
  QIsa best = QIsa::kSse4;
  for (QIsa isa : kAllQIsas) {
    if (isa <= most && q_available(isa)) best = isa;
  }
  return best;
}

uint32_t q_layout(QIsa isa) noexcept { return isa >= QIsa::kVnni ? q::kLayoutI8x4 : q::kLayoutI16x2; }

uint32_t q_blob_layout(const void* packed, size_t bytes) noexcept {
  if (bytes < sizeof(q::BlobHeader)) return 0;
  uint32_t layout = 0;
  std::memcpy(&layout, packed, sizeof layout);
  const bool known = layout == q::kLayoutI8x4 || layout == q::kLayoutI16x2 || layout == q::kLayoutDepthwiseI8x4 ||
                     layout == q::kLayoutDepthwiseI16x2;
  return known ? layout : 0;
}

size_t qgemm_packed_size(uint32_t layout, int64_t k, int64_t n) { return q::packed_size(layout, 1, k, n); }

void qgemm_pack(uint32_t layout, const QGemmWeights& w, void* packed) {
  const q::PackSource source{static_cast<const uint8_t*>(w.data),
                             w.type,
                             std::max<int64_t>(w.k, 1),
                             0,
                             w.row_stride,
                             w.col_stride,
                             w.zero_points,
                             w.zero_point_per_column};
  const auto header = q::make_header(layout, 1, w.k, w.n, q::has_zero_points(source, w.n));
  q::pack_header(header, packed);
  q::pack_group(header, source, 0, packed);
}

size_t qgemm_workspace(QIsa isa, int64_t k, int threads) { return q::workspace(isa, k, threads); }

void qgemm(QIsa isa, const QGemmArgs& args, void* workspace, ThreadPool& pool) {
  const q::Kernels& kernels = q::kernels_or_fail(isa);
  const auto& header = q::checked_header(args.packed, kernels.layout, 1, args.k, args.n);
  const auto flip = static_cast<uint8_t>(args.a_type == QType::kS8 ? 0x80 : 0);
  q::Gather g{};
  g.src = static_cast<const uint8_t*>(args.a);
  g.batch_stride = args.m * args.lda;
  g.row_stride = args.m * args.lda;
  g.pixel_stride = args.lda;
  g.ih = g.oh = g.kh = g.kw = g.sh = g.sw = g.dh = g.dw = 1;
  g.iw = g.ow = std::max<int64_t>(args.m, 1);
  g.channels = args.k;
  g.k_padded = header.k_padded;
  g.flip = flip;
  const int32_t a_zp = args.a_zp + flip;
  g.fill = static_cast<uint8_t>(a_zp);
  q::run(kernels, {g, args.m, 1, args.n, a_zp, args.packed, &args.epilogue}, workspace, pool);
}

}  // namespace tenon::cpu
