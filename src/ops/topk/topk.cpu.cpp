// CPU tactic of TopK in float32, int32 and int64 with a constant k: a thread a line, the order found by a partial sort
// of indices in the workspace.
#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

bool plain(const Operand& o) { return o.dense() && (o.format == Format::kPlain || formats_agree(o.dims)); }

int64_t axis_of(const Problem& p) {
  int64_t axis = p.attrs().integer("axis", -1);
  return axis < 0 ? axis + p.in[0].rank() : axis;
}

Verdict judge(const Problem& p) {
  DType t = p.in[0].dtype;
  if (t != DType::kFloat32 && t != DType::kInt32 && t != DType::kInt64) return Verdict::no("not for {}", name(t));
  if (p.in[1].constant == nullptr || p.in[1].size() != 1) return Verdict::no("k is not constant");
  if (p.out[0].size() == 0) return Verdict::no("an empty result");
  int64_t axis = axis_of(p);
  if (axis < 0 || axis >= p.in[0].rank()) return Verdict::no("a bad axis");
  auto a = static_cast<size_t>(axis);
  bool fits = p.out[0].dims[a] == p.in[1].constant->to_ints()[0] && p.out[0].dims[a] <= p.in[0].dims[a];
  if (!fits || p.in[0].dims[a] > INT32_MAX) return Verdict::no("k does not fit the axis");
  bool all = plain(p.in[0]) && plain(p.out[0]) && (p.out.size() < 2 || !p.out[1].present() || plain(p.out[1]));
  return all ? Verdict::yes() : Verdict::no("not in the plain format");
}

struct TopK {
  int64_t outer = 1, extent = 0, inner = 1, k = 0;
  bool largest = true;

  // Equal elements in the order of their indices; NaN counts as the largest number.
  template <class T>
  bool before(T a, T b, int32_t i, int32_t j) const {
    if (a < b) return !largest;
    if (b < a) return largest;
    bool a_nan = a != a, b_nan = b != b;
    if (a_nan != b_nan) return a_nan == largest;
    return i < j;
  }

  template <class T>
  void run(const RunArgs& a) const {
    const auto* x = static_cast<const T*>(a.in[0]);
    auto* values = static_cast<T*>(a.out[0]);
    auto* indices = static_cast<int64_t*>(a.out[1]);
    a.pool.run_indexed(outer * inner, [&](int64_t line, int worker) {
      const T* from = x + line / inner * extent * inner + line % inner;
      int32_t* order = static_cast<int32_t*>(a.workspace) + worker * extent;
      std::iota(order, order + extent, 0);
      std::partial_sort(order, order + k, order + extent,
                        [&](int32_t i, int32_t j) { return before(from[i * inner], from[j * inner], i, j); });
      int64_t to = line / inner * k * inner + line % inner;
      for (int64_t i = 0; i < k; ++i) {
        values[to + i * inner] = from[order[i] * inner];
        if (indices != nullptr) indices[to + i * inner] = order[i];
      }
    });
  }
};

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  const Dims& d = p.in[0].dims;
  int64_t axis = axis_of(p);
  TopK t;
  t.outer = element_count(Dims(d.begin(), d.begin() + axis));
  t.extent = d[static_cast<size_t>(axis)];
  t.inner = element_count(Dims(d.begin() + axis + 1, d.end()));
  t.k = p.out[0].dims[static_cast<size_t>(axis)];
  t.largest = p.attrs().integer("largest", 1) != 0;
  DType type = p.in[0].dtype;
  bool indices = p.out.size() > 1 && p.out[1].present();
  return make_kernel(
      [=](const RunArgs& a) {
        void* const out[] = {a.out[0], indices ? a.out[1] : nullptr};
        RunArgs call{a.in, out, a.workspace, a.pool};
        if (type == DType::kFloat32) return t.run<float>(call);
        type == DType::kInt32 ? t.run<int32_t>(call) : t.run<int64_t>(call);
      },
      t.extent * 4 * std::max(p.threads, 1));
}

}  // namespace

void define_topk_cpu(TacticTable& table) { table.add("TopK", {{"partial_sort", judge, prepare}}); }

}  // namespace tenon
