#include "tactic/pointwise_tactic.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "cpu/lookup.hpp"
#include "cpu/pointwise.hpp"
#include "cpu/pointwise_plain.hpp"
#include "graph/op.hpp"
#include "ops/elementwise_call.hpp"
#include "ops/op_table.hpp"
#include "tactic/epilogue.hpp"
#include "tactic/requant.hpp"

namespace tenon {

GraphPtr pointwise_body(const Problem& p, std::vector<size_t>& operands) {
  if (p.node->op == "tenon.Pointwise") {
    for (size_t i = 0; i < p.in.size(); ++i) operands.push_back(i);
    return p.attrs().graph("body");
  }
  auto g = std::make_shared<Graph>();
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < p.in.size(); ++i) {
    const Operand& o = p.in[i];
    if (!o.present()) {
      inputs.push_back(kNone);
    } else if (o.constant != nullptr && o.size() == 1 && o.dtype != DType::kString) {
      inputs.push_back(g->add_constant(*o.constant));
    } else {
      inputs.push_back(g->add_input(fmt::format("x{}", i), Type::tensor(o.dtype, to_shape(o.dims))));
      operands.push_back(i);
    }
  }
  NodeId n = g->add_node(p.node->op, std::move(inputs), {""}, p.node->attrs);
  g->outputs.push_back(g->node(n).outputs[0]);
  g->value(g->outputs[0]).type = Type::tensor(p.out[0].dtype, to_shape(p.out[0].dims));
  return g;
}

namespace {

Ints aligned_strides(const Operand& o, const Dims& target) {
  Ints out(target.size(), 0);
  size_t shift = target.size() - o.dims.size();
  for (size_t i = 0; i < o.dims.size(); ++i) out[shift + i] = o.dims[i] == 1 ? 0 : o.strides[i];
  return out;
}

struct Prepared {
  cpu::PointwisePlan plan;
  std::vector<size_t> operands;
};

std::optional<Prepared> make(const Problem& p, std::string& why) {
  Prepared out;
  GraphPtr body = pointwise_body(p, out.operands);
  if (body == nullptr) {
    why = "no body";
    return std::nullopt;
  }
  const Dims& dims = p.out[0].dims;
  std::vector<DType> types;
  std::vector<Ints> strides;
  for (size_t i : out.operands) {
    if (p.in[i].rank() > static_cast<int>(dims.size())) {
      why = "an operand has more dimensions than the result";
      return std::nullopt;
    }
    types.push_back(p.in[i].dtype);
    strides.push_back(aligned_strides(p.in[i], dims));
  }
  for (const Operand& o : p.out) {
    if (o.dims != dims) {
      why = "the results differ in shape";
      return std::nullopt;
    }
    strides.push_back(o.strides);
  }
  auto tape = compile_tape(*body, types, why);
  if (!tape) return std::nullopt;
  out.plan = cpu::make_plan(std::move(*tape), dims, strides);
  return out;
}

// The first operand whose buffer the result may take: same shape and element size, not broadcast.
int in_place_operand(const Problem& p) {
  for (size_t i = 0; i < p.in.size(); ++i) {
    const Operand& o = p.in[i];
    bool fits = o.present() && o.constant == nullptr && o.dims == p.out[0].dims &&
                bits(o.dtype) == bits(p.out[0].dtype) && o.format == p.out[0].format;
    if (fits && p.out.size() == 1) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace

Verdict judge_tape(const Problem& p) {
  if (p.out[0].rank() > 8) return Verdict::no("more than 8 dimensions");
  if (p.out[0].size() == 0) return Verdict::no("an empty result");
  // Quantisation by scalars is arithmetic of its own; by channel it is another op's job.
  bool quantizes = p.node->op == "QuantizeLinear" || p.node->op == "DequantizeLinear";
  for (size_t i = 1; quantizes && i < p.in.size(); ++i) {
    if (p.in[i].present() && (p.in[i].size() != 1 || p.in[i].constant == nullptr))
      return Verdict::no("scales by channel");
  }
  for (const Operand& o : p.out) {
    if (p.node->op == "tenon.Pointwise" || quantizes) break;
    if (!tape_type(o.dtype)) return Verdict::no("the result is {}", name(o.dtype));
  }
  if (p.node->op != "tenon.Pointwise" && !quantizes) {
    for (const Operand& o : p.in) {
      if (o.present() && !tape_type(o.dtype)) return Verdict::no("computes in {}", name(o.dtype));
    }
  }
  // Mixed formats work, at the price of a transposing walk; the selection weighs that against a reorder.
  std::string why;
  auto made = make(p, why);
  if (!made) return Verdict::no("{}", why);
  double bytes = 0;
  bool mixed = false;
  for (const Operand& o : p.in) {
    if (!o.present() || o.constant != nullptr) continue;
    bytes += static_cast<double>(byte_size(o.dtype, o.size()));
    mixed = mixed || (o.format != p.out[0].format && !formats_agree(o.dims));
  }
  for (const Operand& o : p.out) bytes += static_cast<double>(byte_size(o.dtype, o.size()));
  double seconds = bytes / 12e9 + static_cast<double>(made->plan.elements) * made->plan.tape.cost() * 1e-9 / p.threads;
  if (mixed) seconds += 4 * bytes / 8e9;
  return Verdict::yes().with_strides().with_in_place(in_place_operand(p)).with_cost(seconds);
}

std::unique_ptr<Kernel> prepare_tape(const Problem& p, WeightStore&) {
  std::string why;
  auto made = make(p, why);
  TENON_CHECK(made.has_value());
  size_t count = made->operands.size();
  TENON_CHECK(count <= static_cast<size_t>(cpu::Tape::kMaxInputs));
  return make_kernel(
      [plan = std::move(made->plan), operands = std::move(made->operands)](const RunArgs& a) {
        const void* inputs[cpu::Tape::kMaxInputs];
        for (size_t i = 0; i < operands.size(); ++i) inputs[i] = a.in[operands[i]];
        cpu::run(plan, inputs, a.out, a.pool);
      },
      0);
}

namespace {

struct ByteTable {
  size_t operand = 0;
  std::vector<uint8_t> bytes;
  std::vector<float> floats;
};

// The region as a function of one byte, element by element in memory order.
std::optional<ByteTable> byte_table(const Problem& p, std::string& why) {
  std::vector<size_t> operands;
  GraphPtr body = pointwise_body(p, operands);
  if (body == nullptr || p.out.size() != 1 || operands.size() != 1) {
    why = "not one input and one result";
    return std::nullopt;
  }
  const Operand &x = p.in[operands[0]], &y = p.out[0];
  if (x.dims != y.dims || !x.dense() || !y.dense() || (x.format != y.format && !formats_agree(x.dims))) {
    why = "input and result lie differently in memory";
    return std::nullopt;
  }
  ByteTable out;
  out.operand = operands[0];
  if (!tabulate(*body, out.bytes, out.floats)) {
    why = "not from a byte to a byte or a float";
    return std::nullopt;
  }
  return out;
}

}  // namespace

Verdict judge_table(const Problem& p) {
  if (p.out[0].size() < 4096) return Verdict::no("too few elements for a table");
  std::string why;
  if (!byte_table(p, why)) return Verdict::no("{}", why);
  const double bytes = static_cast<double>(byte_size(p.out[0].dtype, p.out[0].size()) + p.out[0].size());
  Verdict v = Verdict::yes().with_cost(bytes / 12e9);
  return bits(p.out[0].dtype) == 8 ? v.with_in_place(in_place_operand(p)) : v;
}

std::unique_ptr<Kernel> prepare_table(const Problem& p, WeightStore&) {
  std::string why;
  auto table = byte_table(p, why);
  TENON_CHECK(table.has_value());
  return make_kernel([t = std::move(*table), size = p.out[0].size()](const RunArgs& a) {
    const auto* from = static_cast<const uint8_t*>(a.in[t.operand]);
    a.pool.run_ranges(size, 65536, [&](int64_t begin, int64_t end) {
      const cpu::LookupRows rows{from + begin, 0, 0, 1, end - begin};
      if (t.floats.empty()) {
        cpu::lookup_bytes(t.bytes.data(), rows, static_cast<uint8_t*>(a.out[0]) + begin);
      } else {
        cpu::lookup_floats(t.floats.data(), rows, static_cast<float*>(a.out[0]) + begin);
      }
    });
  });
}

namespace {

// Dimensions sorted by the first operand's strides, neighbours that are one for every operand merged; `strides` follow.
Dims in_memory_order(const Dims& dims, std::vector<Ints>& strides) {
  std::vector<size_t> order;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] != 1) order.push_back(d);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return strides[0][a] > strides[0][b]; });
  Dims out;
  std::vector<Ints> moved(strides.size());
  for (size_t d : order) {
    bool merge = !out.empty();
    for (size_t i = 0; i < strides.size(); ++i) merge = merge && moved[i].back() == strides[i][d] * dims[d];
    for (size_t i = 0; i < strides.size(); ++i) {
      if (merge) moved[i].pop_back();
      moved[i].push_back(strides[i][d]);
    }
    if (merge) out.back() *= dims[d];
    if (!merge) out.push_back(dims[d]);
  }
  strides = std::move(moved);
  return out;
}

}  // namespace

Verdict judge_plain(const Problem& p) {
  auto call = elementwise_call(*p.node);
  if (!call) return Verdict::no("more than one expression");
  auto arity = static_cast<size_t>(info(call->op).arity);
  if (p.in.size() < arity) return Verdict::no("an operand is left out");
  DType dtype = p.in[arity - 1].dtype;  // Where: the condition comes first
  for (size_t i = 0; i < arity; ++i) {
    bool condition = arity == 3 && i == 0 && p.node->op == "Where";
    if (p.in[i].dtype != (condition ? DType::kBool : dtype)) return Verdict::no("mixed types");
  }
  if (!cpu::has_plain(call->op, dtype)) return Verdict::no("not in {}", name(dtype));
  if (p.out[0].rank() > 16) return Verdict::no("more than 16 dimensions");
  return Verdict::yes().with_strides().with_in_place(in_place_operand(p));
}

std::unique_ptr<Kernel> prepare_plain(const Problem& p, WeightStore&) {
  EwCall call = *elementwise_call(*p.node);
  auto arity = static_cast<size_t>(info(call.op).arity);
  DType dtype = p.in[arity - 1].dtype;
  std::vector<Ints> strides{p.out[0].strides};
  for (size_t i = 0; i < arity; ++i) strides.push_back(aligned_strides(p.in[i], p.out[0].dims));
  const Dims dims = in_memory_order(p.out[0].dims, strides);
  std::vector<int64_t> sizes{bits(p.out[0].dtype) / 8};
  for (size_t i = 0; i < arity; ++i) sizes.push_back(bits(p.in[i].dtype) / 8);
  // Threads take parts of the outermost dimension.
  const int64_t outer = dims.empty() ? 1 : dims[0],
                grain = 1 + 32768 / std::max<int64_t>(1, element_count(dims) / std::max<int64_t>(1, outer));
  return make_kernel([=](const RunArgs& a) {
    a.pool.run_ranges(outer, grain, [&](int64_t begin, int64_t end) {
      const int64_t part = end - begin;
      auto moved = [&](size_t i) { return dims.empty() ? 0 : begin * strides[i][0] * sizes[i]; };
      cpu::PlainOperand operands[3];
      for (size_t i = 0; i < arity; ++i)
        operands[i] = {static_cast<const std::byte*>(a.in[i]) + moved(i + 1), strides[i + 1]};
      std::array<int64_t, 16> mine{};  // on the stack: a run allocates nothing
      std::copy(dims.begin(), dims.end(), mine.begin());
      if (!dims.empty()) mine[0] = part;
      cpu::run_plain(call.op, dtype, {mine.data(), dims.size()}, {operands, arity},
                     static_cast<std::byte*>(a.out[0]) + moved(0), strides[0], call.p, call.q);
    });
  });
}

}  // namespace tenon
