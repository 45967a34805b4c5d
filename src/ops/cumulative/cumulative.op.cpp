// CumSum, CumProd, ReverseSequence: along one axis.
#include "ops/support.hpp"

namespace tenon {
namespace {

template <bool kSum>
void cumulate(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.require(ctx.in(1).size() == 1, "the axis must be one number");
  auto axis = static_cast<size_t>(ctx.axis(ctx.in(1).int_at(0), x.rank()));
  bool exclusive = ctx.attrs().integer("exclusive", 0) != 0, reverse = ctx.attrs().integer("reverse", 0) != 0;
  const Dims& d = x.dims();
  int64_t outer = product(d, 0, axis), inner = product(d, axis + 1, d.size()), extent = d[axis];
  Tensor& out = ctx.make(0, x.dtype(), d);
  auto run = [&](auto one, auto read, auto write) {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        auto sum = kSum ? decltype(one)(0) : one;
        for (int64_t k = 0; k < extent; ++k) {
          int64_t at = (o * extent + (reverse ? extent - 1 - k : k)) * inner + i;
          auto v = read(at);
          auto next = kSum ? sum + v : sum * v;
          write(at, exclusive ? sum : next);
          sum = next;
        }
      }
    }
  };
  if (is_floating(x.dtype())) {
    run(
        1.0, [&](int64_t i) { return x.at(i); }, [&](int64_t i, double v) { out.set(i, v); });
  } else {
    run(
        uint64_t{1}, [&](int64_t i) { return static_cast<uint64_t>(x.int_at(i)); },
        [&](int64_t i, uint64_t v) { out.set_int(i, static_cast<int64_t>(v)); });
  }
}

// Reverses the first sequence_lens[b] elements along the time axis, for each b along the batch axis.
void reverse_sequence(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &lengths = ctx.in(1);
  int64_t batch = ctx.attrs().integer("batch_axis", 1), time = ctx.attrs().integer("time_axis", 0);
  ctx.require(x.rank() >= 2 && batch + time == 1 && batch * time == 0 && batch >= 0,
              "batch_axis {} and time_axis {} must be 0 and 1", batch, time);
  const Dims& d = x.dims();
  int64_t batches = d[static_cast<size_t>(batch)], steps = d[static_cast<size_t>(time)];
  int64_t inner = product(d, 2, d.size());
  ctx.require(lengths.size() == batches, "{} lengths are given for {} sequences", lengths.size(), batches);
  Tensor& out = ctx.make(0, x.dtype(), d);
  with_mover(out, x, [&](auto move) {
    for (int64_t b = 0; b < batches; ++b) {
      int64_t length = lengths.int_at(b);
      ctx.require(length >= 0 && length <= steps, "sequence {} has length {} of {}", b, length, steps);
      for (int64_t t = 0; t < steps; ++t) {
        int64_t from = t < length ? length - 1 - t : t;
        auto at = [&](int64_t s) { return (time == 0 ? s * batches + b : b * steps + s) * inner; };
        for (int64_t k = 0; k < inner; ++k) move(at(t) + k, at(from) + k);
      }
    }
  });
}

}  // namespace

void define_cumulative_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, void (*reference)(RefContext&), Strings attrs) {
    table.add({.name = name,
               .doc = doc,
               .min_inputs = 2,
               .max_inputs = 2,
               .infer = infer_same,
               .reference = reference,
               .attrs = std::move(attrs)});
  };
  add("CumSum", "Running sums along an axis.", cumulate<true>, {"exclusive", "reverse"});
  add("CumProd", "Running products along an axis.", cumulate<false>, {"exclusive", "reverse"});
  add("ReverseSequence", "The first elements of each sequence in reverse.", reverse_sequence,
      {"batch_axis", "time_axis"});
}

}  // namespace tenon
