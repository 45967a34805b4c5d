// CPU tactic of ScatterND: the data are copied (or not, where the result shares their buffer), then the updates are
// written in order, so that with equal indices the last one stays, as in the reference.
#include <cstring>

#include "base/error.hpp"
#include "graph/op.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

bool plain(const Operand& o) { return o.dense() && (o.format == Format::kPlain || formats_agree(o.dims)); }

Verdict judge(const Problem& p) {
  DType t = p.in[0].dtype;
  std::string how = p.attrs().string("reduction", "none");
  bool numbers = t == DType::kFloat32 || t == DType::kInt64 || t == DType::kInt32;
  if (bits(t) % 8 != 0 || bits(t) > 64 || (how != "none" && !numbers)) return Verdict::no("not for {}", name(t));
  if (how != "none" && how != "add") return Verdict::no("reduction {}", how);
  if (how == "add" && t != DType::kFloat32) return Verdict::no("sums of {}", name(t));
  const Operand& at = p.in[1];
  if (at.dtype != DType::kInt64 || at.rank() < 1 || at.dims.back() > p.in[0].rank()) return Verdict::no("the indices");
  Dims wanted(at.dims.begin(), at.dims.end() - 1);
  wanted.insert(wanted.end(), p.in[0].dims.begin() + at.dims.back(), p.in[0].dims.end());
  if (p.in[2].dims != wanted || p.in[2].dtype != t || p.out[0].dims != p.in[0].dims) return Verdict::no("the shapes");
  for (const Operand* o : {&p.in[0], &p.in[1], &p.in[2], &p.out[0]}) {
    if (!plain(*o)) return Verdict::no("not in the plain format");
  }
  return Verdict::yes().with_in_place(0);
}

struct Scatter {
  int64_t rows, depth, block, element, bytes;
  Dims dims;
  Ints strides;
  bool add;

  void run(const RunArgs& a) const {
    auto* out = static_cast<std::byte*>(a.out[0]);
    if (a.in[0] != a.out[0]) std::memcpy(out, a.in[0], static_cast<size_t>(bytes));
    const auto* index = static_cast<const int64_t*>(a.in[1]);
    const auto* from = static_cast<const std::byte*>(a.in[2]);
    int64_t step = block * element;
    for (int64_t r = 0; r < rows; ++r, index += depth, from += step) {
      int64_t at = 0;
      for (int64_t k = 0; k < depth; ++k) {
        auto d = static_cast<size_t>(k);
        int64_t i = index[k];
        expect(i >= -dims[d] && i < dims[d], "ScatterND: index {} is outside an axis of {}", i, dims[d]);
        at += (i < 0 ? i + dims[d] : i) * strides[d];
      }
      std::byte* to = out + at * element;
      if (!add) {
        std::memcpy(to, from, static_cast<size_t>(step));
        continue;
      }
      auto* sum = reinterpret_cast<float*>(to);
      const auto* update = reinterpret_cast<const float*>(from);
      for (int64_t k = 0; k < block; ++k) sum[k] += update[k];
    }
  }
};

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  const Operand &x = p.in[0], &at = p.in[1];
  int64_t depth = at.dims.back();
  Scatter s{element_count(Dims(at.dims.begin(), at.dims.end() - 1)),
            depth,
            element_count(Dims(x.dims.begin() + depth, x.dims.end())),
            static_cast<int64_t>(bits(x.dtype) / 8),
            x.size() * static_cast<int64_t>(bits(x.dtype) / 8),
            x.dims,
            strides_of(x.dims),
            p.attrs().string("reduction", "none") == "add"};
  return make_kernel([s](const RunArgs& a) { s.run(a); });
}

}  // namespace

void define_scatter_cpu(TacticTable& table) { table.add("ScatterND", {{"in_order", judge, prepare}}); }

}  // namespace tenon
