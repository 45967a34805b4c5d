// CPU tactics of Gather and GatherElements. A few constant indices are strided copies, which take any format; else rows
// of a plain tensor are copied at indices that are checked while they are read.
#include <cstring>

#include "base/error.hpp"
#include "cpu/transpose.hpp"
#include "graph/op.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

constexpr int64_t kMostCopies = 4;
constexpr int64_t kGrainBytes = 1 << 15;  // a thread's least share

bool plain(const Operand& o) { return o.dense() && (o.format == Format::kPlain || formats_agree(o.dims)); }

int64_t axis_of(const Problem& p) {
  int64_t axis = p.attrs().integer("axis", 0);
  return axis < 0 ? axis + p.in[0].rank() : axis;
}

int64_t in_range(int64_t index, int64_t extent) {
  expect(index >= -extent && index < extent, "Gather: index {} is outside an axis of {}", index, extent);
  return index < 0 ? index + extent : index;
}

Verdict judge_types(const Problem& p) {
  DType t = p.in[0].dtype, i = p.in[1].dtype;
  if (bits(t) % 8 != 0 || bits(t) > 64) return Verdict::no("not for {}", name(t));
  if (i != DType::kInt32 && i != DType::kInt64) return Verdict::no("indices of {}", name(i));
  if (p.out[0].size() == 0 || p.in[0].size() == 0) return Verdict::no("an empty operand");
  int64_t axis = axis_of(p);
  return axis >= 0 && axis < p.in[0].rank() ? Verdict::yes() : Verdict::no("a bad axis");
}

// --- a few constant indices ---

Verdict judge_copies(const Problem& p) {
  Verdict v = judge_types(p);
  if (!v.ok) return v;
  if (p.in[1].constant == nullptr) return Verdict::no("the indices are not constant");
  if (p.in[1].size() > kMostCopies) return Verdict::no("more than {} indices", kMostCopies);
  if (p.in[1].rank() > 1 || p.in[0].rank() > cpu::CopyPlan::kMaxDims) return Verdict::no("rank");
  int64_t extent = p.in[0].dims[static_cast<size_t>(axis_of(p))];
  for (int64_t i : p.in[1].constant->to_ints()) {
    if (i < -extent || i >= extent) return Verdict::no("index {} is outside an axis of {}", i, extent);
  }
  return v.with_strides();
}

std::unique_ptr<Kernel> prepare_copies(const Problem& p, WeightStore&) {
  const Operand &x = p.in[0], &y = p.out[0];
  auto axis = static_cast<size_t>(axis_of(p));
  Dims dims = x.dims;
  Ints from = x.strides, to = y.strides;
  int64_t next = 0;  // result's stride from index to index; a scalar index takes the axis away
  dims.erase(dims.begin() + static_cast<int64_t>(axis));
  from.erase(from.begin() + static_cast<int64_t>(axis));
  if (p.in[1].rank() == 1) {
    next = to[axis];
    to.erase(to.begin() + static_cast<int64_t>(axis));
  }
  auto element = static_cast<int64_t>(bits(x.dtype) / 8);
  auto plan = cpu::make_copy(static_cast<int>(element), dims, from, to);
  Ints sources;
  for (int64_t i : p.in[1].constant->to_ints()) {
    sources.push_back(in_range(i, x.dims[axis]) * x.strides[axis] * element);
  }
  return make_kernel([=](const RunArgs& a) {
    for (size_t i = 0; i < sources.size(); ++i) {
      cpu::run_copy(plan, static_cast<const std::byte*>(a.in[0]) + sources[i],
                    static_cast<std::byte*>(a.out[0]) + static_cast<int64_t>(i) * next * element, a.pool);
    }
  });
}

// --- rows ---

Verdict judge_rows(const Problem& p) {
  Verdict v = judge_types(p);
  if (!v.ok) return v;
  for (const Operand* o : {&p.in[0], &p.in[1], &p.out[0]}) {
    if (!plain(*o)) return Verdict::no("not in the plain format");
  }
  return v;
}

struct RowGather {
  int64_t outer, extent, count, row;  // row: bytes

  template <class Index>
  void run(const void* data, const void* indices, void* out, ThreadPool& pool) const {
    const auto* at = static_cast<const Index*>(indices);
    pool.run_ranges(outer * count, kGrainBytes / row + 1, [&](int64_t begin, int64_t end) {
      const auto* from = static_cast<const std::byte*>(data);
      std::byte* to = static_cast<std::byte*>(out) + begin * row;
      int64_t o = begin / count, k = begin % count;
      for (int64_t i = begin; i < end; ++i, to += row) {
        const std::byte* source = from + (o * extent + in_range(static_cast<int64_t>(at[k]), extent)) * row;
        if (row == 4) {
          std::memcpy(to, source, 4);
        } else if (row == 8) {
          std::memcpy(to, source, 8);
        } else {
          std::memcpy(to, source, static_cast<size_t>(row));
        }
        if (++k == count) {
          k = 0;
          ++o;
        }
      }
    });
  }
};

std::unique_ptr<Kernel> prepare_rows(const Problem& p, WeightStore&) {
  const Operand& x = p.in[0];
  int64_t axis = axis_of(p);
  Dims before(x.dims.begin(), x.dims.begin() + axis), after(x.dims.begin() + axis + 1, x.dims.end());
  RowGather g{element_count(before), x.dims[static_cast<size_t>(axis)], p.in[1].size(),
              element_count(after) * static_cast<int64_t>(bits(x.dtype) / 8)};
  bool wide = p.in[1].dtype == DType::kInt64;
  return make_kernel([=](const RunArgs& a) {
    wide ? g.run<int64_t>(a.in[0], a.in[1], a.out[0], a.pool) : g.run<int32_t>(a.in[0], a.in[1], a.out[0], a.pool);
  });
}

// --- elements ---

Verdict judge_elements(const Problem& p) {
  Verdict v = judge_rows(p);
  if (!v.ok) return v;
  if (p.in[0].rank() != p.in[1].rank() || p.in[0].rank() > 12) return Verdict::no("ranks that do not fit");
  for (size_t i = 0; i < p.in[0].dims.size(); ++i) {
    bool along = static_cast<int64_t>(i) == axis_of(p);
    if (!along && p.in[1].dims[i] > p.in[0].dims[i]) return Verdict::no("indices that reach outside the data");
  }
  bool word = bits(p.in[0].dtype) == 32 || bits(p.in[0].dtype) == 64;
  return word ? v : Verdict::no("elements of {} bits", bits(p.in[0].dtype));
}

struct ElementGather {
  size_t axis = 0;
  Dims dims;     // of the indices
  Ints strides;  // of the data

  // The innermost axis is a loop; the position of each line is found from its number.
  template <class T, class Index>
  void run(const RunArgs& a, int64_t extent) const {
    const auto* data = static_cast<const T*>(a.in[0]);
    const auto* at = static_cast<const Index*>(a.in[1]);
    auto* out = static_cast<T*>(a.out[0]);
    size_t last = dims.size() - 1;
    int64_t width = dims[last], lines = element_count(dims) / width;
    a.pool.run_ranges(lines, kGrainBytes / (width * 8) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        int64_t base = 0, rest = line;
        for (size_t d = last; d-- > 0;) {
          if (d != axis) base += rest % dims[d] * strides[d];
          rest /= dims[d];
        }
        int64_t step = axis == last ? 0 : strides[last];
        for (int64_t i = 0; i < width; ++i) {
          int64_t k = in_range(static_cast<int64_t>(at[line * width + i]), extent);
          out[line * width + i] = data[base + i * step + k * strides[axis]];
        }
      }
    });
  }
};

std::unique_ptr<Kernel> prepare_elements(const Problem& p, WeightStore&) {
  const Operand& x = p.in[0];
  ElementGather g{static_cast<size_t>(axis_of(p)), p.in[1].dims, strides_of(x.dims)};
  int64_t extent = x.dims[g.axis];
  bool wide = p.in[1].dtype == DType::kInt64, eight = bits(x.dtype) == 64;
  return make_kernel([=](const RunArgs& a) {
    if (eight) {
      wide ? g.run<uint64_t, int64_t>(a, extent) : g.run<uint64_t, int32_t>(a, extent);
    } else {
      wide ? g.run<uint32_t, int64_t>(a, extent) : g.run<uint32_t, int32_t>(a, extent);
    }
  });
}

}  // namespace

void define_gather_cpu(TacticTable& table) {
  table.add("Gather", {{"copies", judge_copies, prepare_copies}, {"rows", judge_rows, prepare_rows}});
  table.add("GatherElements", {{"elements", judge_elements, prepare_elements}});
}

}  // namespace tenon
