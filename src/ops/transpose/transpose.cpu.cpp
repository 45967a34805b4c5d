// CPU tactic of Transpose: a strided copy.
#include "base/error.hpp"
#include "tactic/copy.hpp"

namespace tenon {
namespace {

Ints permutation(const Problem& p) {
  Ints perm = p.attrs().ints("perm");
  if (perm.empty()) {
    for (int64_t i = p.in[0].rank(); i-- > 0;) perm.push_back(i);
  }
  return perm;
}

Verdict judge(const Problem& p) {
  if (bits(p.in[0].dtype) % 8 != 0 || bits(p.in[0].dtype) > 64) return Verdict::no("not for {}", name(p.in[0].dtype));
  if (p.in[0].size() == 0) return Verdict::no("an empty input");
  if (p.in[0].rank() > 12) return Verdict::no("more than 12 dimensions");
  return Verdict::yes().with_strides();
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  Ints perm = permutation(p), from;
  for (int64_t axis : perm) from.push_back(p.in[0].strides[static_cast<size_t>(axis)]);
  return make_copy(p.in[0].dtype, p.out[0].dims, from, p.out[0].strides);
}

}  // namespace

void define_transpose_cpu(TacticTable& table) { table.add("Transpose", {{"copy", judge, prepare}}); }

}  // namespace tenon
