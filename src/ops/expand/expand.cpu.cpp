// CPU tactics of Expand and Tile: strided copies that read along repeated axes with stride 0.
#include "base/error.hpp"
#include "tactic/copy.hpp"

namespace tenon {
namespace {

constexpr int kMostDims = 12;  // of a copy

Verdict judge_any(const Problem& p) {
  const Operand& x = p.in[0];
  if (bits(x.dtype) % 8 != 0 || bits(x.dtype) > 64) return Verdict::no("not for {}", name(x.dtype));
  if (p.in[1].constant == nullptr)
    return Verdict::no("the {} is not constant", p.node->op == "Tile" ? "count" : "shape");
  if (p.out[0].size() == 0) return Verdict::no("an empty result");
  return Verdict::yes().with_strides();
}

Verdict judge_expand(const Problem& p) {
  if (p.out[0].rank() > kMostDims) return Verdict::no("rank {}", p.out[0].rank());
  return judge_any(p);
}

Verdict judge_tile(const Problem& p) {
  Verdict v = judge_any(p);
  if (!v.ok) return v;
  Ints repeats = p.in[1].constant->to_ints();
  if (repeats.size() != p.in[0].dims.size()) return Verdict::no("{} repeats", repeats.size());
  int64_t dims = p.in[0].rank();
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (p.out[0].dims[i] != p.in[0].dims[i] * repeats[i]) return Verdict::no("the shapes are not the repeats'");
    dims += repeats[i] > 1 ? 1 : 0;
  }
  return dims > kMostDims ? Verdict::no("more than {} dimensions", kMostDims) : v;
}

std::unique_ptr<Kernel> prepare_expand(const Problem& p, WeightStore&) {
  const Operand &x = p.in[0], &y = p.out[0];
  Ints from(y.dims.size(), 0);
  size_t lead = y.dims.size() - x.dims.size();
  for (size_t i = 0; i < x.dims.size(); ++i) from[lead + i] = x.dims[i] == 1 ? 0 : x.strides[i];
  return make_copy(x.dtype, y.dims, from, y.strides);
}

std::unique_ptr<Kernel> prepare_tile(const Problem& p, WeightStore&) {
  const Operand &x = p.in[0], &y = p.out[0];
  Ints repeats = p.in[1].constant->to_ints(), from, to;
  Dims dims;
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (repeats[i] > 1) {
      dims.push_back(repeats[i]);
      from.push_back(0);
      to.push_back(x.dims[i] * y.strides[i]);
    }
    dims.push_back(x.dims[i]);
    from.push_back(x.strides[i]);
    to.push_back(y.strides[i]);
  }
  return make_copy(x.dtype, dims, from, to);
}

}  // namespace

void define_expand_cpu(TacticTable& table) {
  table.add("Expand", {{"copy", judge_expand, prepare_expand}});
  table.add("Tile", {{"copy", judge_tile, prepare_tile}});
}

}  // namespace tenon
