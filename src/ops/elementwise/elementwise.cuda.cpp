// CUDA tactics of elementwise nodes and pointwise regions, and of what is a strided copy.
#include <algorithm>

#include "base/error.hpp"
#include "ops/op_table.hpp"
#include "tactic/cuda.hpp"
#include "tactic/epilogue.hpp"
#include "tactic/pointwise_tactic.hpp"

namespace tenon {
namespace {

Ints aligned_strides(const Operand& o, const Dims& target) {
  Ints out(target.size(), 0);
  size_t shift = target.size() - o.dims.size();
  for (size_t i = 0; i < o.dims.size(); ++i) out[shift + i] = o.dims[i] == 1 ? 0 : o.strides[i];
  return out;
}

// Dimensions by the first result's strides, merged where every operand walks through both as one.
void arrange(cuda::Region& r) {
  std::vector<size_t> order;
  for (size_t i = 0; i < r.dims.size(); ++i) {
    if (r.dims[i] != 1) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return r.out_strides[0][a] > r.out_strides[0][b]; });
  std::vector<int64_t> dims;
  std::vector<std::vector<int64_t>*> all;
  for (auto* list : {&r.in_strides, &r.out_strides}) {
    for (auto& s : *list) all.push_back(&s);
  }
  std::vector<std::vector<int64_t>> strides(all.size());
  for (size_t d : order) {
    bool merge = !dims.empty();
    for (size_t k = 0; k < all.size() && merge; ++k) merge = strides[k].back() == (*all[k])[d] * r.dims[d];
    if (merge) {
      dims.back() *= r.dims[d];
    } else {
      dims.push_back(r.dims[d]);
    }
    for (size_t k = 0; k < all.size(); ++k) {
      if (merge) {
        strides[k].back() = (*all[k])[d];
      } else {
        strides[k].push_back((*all[k])[d]);
      }
    }
  }
  if (dims.empty()) {
    dims.push_back(1);
    for (auto& s : strides) s.push_back(1);
  }
  for (size_t k = 0; k < all.size(); ++k) *all[k] = strides[k];
  r.dims = dims;
}

std::optional<cuda::Region> region_of(const Problem& p, std::vector<size_t>& operands, std::string& why) {
  GraphPtr body = pointwise_body(p, operands);
  if (body == nullptr) {
    why = "no body";
    return std::nullopt;
  }
  cuda::Region r;
  r.dims = p.out[0].dims;
  std::vector<DType> types;
  for (size_t i : operands) {
    const Operand& o = p.in[i];
    if (o.rank() > static_cast<int>(r.dims.size())) {
      why = "an operand has more dimensions than the result";
      return std::nullopt;
    }
    types.push_back(o.dtype);
    r.in_types.push_back(o.dtype);
    r.in_strides.push_back(aligned_strides(o, r.dims));
  }
  for (const Operand& o : p.out) {
    if (o.dims != p.out[0].dims) {
      why = "the results differ in shape";
      return std::nullopt;
    }
    r.out_types.push_back(o.dtype);
    r.out_strides.push_back(o.strides);
  }
  auto tape = compile_tape(*body, types, why);
  if (!tape) return std::nullopt;
  r.expression = expression_of(*tape);
  arrange(r);
  return r;
}

Verdict judge_region(const Problem& p) {
  Verdict host = judge_tape(p);  // what a float tape may stand for is the same on both
  if (!host.ok) return host;
  for (const auto* list : {&p.in, &p.out}) {
    for (const Operand& o : *list) {
      if (o.present() && !o.dense()) return Verdict::no("not dense");
    }
  }
  std::string why;
  std::vector<size_t> operands;
  if (!region_of(p, operands, why)) return Verdict::no("{}", why);
  return cuda_yes(p);
}

std::unique_ptr<Kernel> prepare_region(const Problem& p, WeightStore&) {
  std::string why;
  std::vector<size_t> operands;
  cuda::Region region = *region_of(p, operands, why);
  size_t outputs = p.out.size();
  return make_cuda_kernel(cuda::plan_region(region), [=](const CudaBinding& b) {
    cuda::Operands o;
    for (size_t i = 0; i < operands.size(); ++i) o.in[i] = b.in[operands[i]];
    for (size_t i = 0; i < outputs; ++i) o.out[i] = b.out[i];
    return cuda::operand_params(o);
  });
}

}  // namespace

void define_elementwise_cuda(TacticTable& table) {
  std::vector<Tactic> tactics{{"cuda_region", judge_region, prepare_region}};
  for (const auto& [name, op] : all_ops().all()) {
    if (op.elementwise) table.add(name, tactics);
  }
  table.add("tenon.Pointwise", tactics);
}

}  // namespace tenon
