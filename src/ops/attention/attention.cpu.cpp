// The CPU tactic of Attention in float32: scores stay in blocks (src/cpu/attention.hpp). A key/value cache is joined
// into the outputs that hold the grown cache.
#include "cpu/attention.hpp"

#include <cmath>
#include <cstring>

#include "tactic/tactic.hpp"

namespace tenon {
namespace {

bool plain(const Operand& o) { return o.dense() && (o.format == Format::kPlain || formats_agree(o.dims)); }

// (batch, heads, length, size) of an operand, and where its rows are.
struct Heads {
  int64_t batch = 0, heads = 0, length = 0, size = 0;
  cpu::HeadStrides strides;
};

Heads heads_of(const Operand& o, int64_t heads) {
  const Dims& d = o.dims;
  if (d.size() == 4) return {d[0], d[1], d[2], d[3], {d[1] * d[2] * d[3], d[2] * d[3], d[3]}};
  int64_t size = heads > 0 ? d[2] / heads : 0;
  return {d[0], heads, d[1], size, {d[1] * d[2], size, d[2]}};
}

Heads q_of(const Problem& p) { return heads_of(p.in[0], p.attrs().integer("q_num_heads", 0)); }
Heads kv_of(const Problem& p, size_t i) { return heads_of(p.in[i], p.attrs().integer("kv_num_heads", 0)); }
int64_t past_of(const Problem& p) { return p.has(4) ? p.in[4].dims[2] : 0; }

Verdict judge_mask(const Problem& p, const Heads& q, int64_t keys) {
  const Operand& mask = p.in[3];
  if (mask.dtype != DType::kFloat32 && mask.dtype != DType::kBool) return Verdict::no("a mask of {}", name(mask.dtype));
  if (!plain(mask) || mask.rank() < 1 || mask.rank() > 4) return Verdict::no("a mask that is not plain");
  if (mask.dims.back() != keys && mask.dims.back() != 1) return Verdict::no("a mask for some of the keys");
  if (mask.dims.back() == 1 && keys != 1) return Verdict::no("a mask that is one for all keys");
  const Dims full{q.batch, q.heads, q.length, keys};
  for (size_t i = 0; i < mask.dims.size(); ++i) {
    int64_t have = mask.dims[mask.dims.size() - 1 - i];
    if (have != 1 && have != full[3 - i]) return Verdict::no("a mask that does not broadcast");
  }
  return Verdict::yes();
}

Verdict judge_blocks(const Problem& p) {
  for (size_t i : {0, 1, 2}) {
    if (p.in[i].dtype != DType::kFloat32) return Verdict::no("not for {}", name(p.in[i].dtype));
    if (!plain(p.in[i]) || p.in[i].rank() < 3 || p.in[i].rank() > 4) return Verdict::no("an input that is not plain");
  }
  for (const Operand& o : p.out) {
    if (o.present() && !plain(o)) return Verdict::no("an output that is not plain");
  }
  if (p.out.size() > 3 && p.out[3].present()) return Verdict::no("the scores are wanted");
  if (p.has(6)) return Verdict::no("lengths by batch");
  if (p.attrs().number("softcap", 0) != 0) return Verdict::no("capped scores");
  if (p.attrs().integer("left_window_size", -1) >= 0 || p.attrs().integer("right_window_size", -1) >= 0) {
    return Verdict::no("a window of keys");
  }
  Heads q = q_of(p), k = kv_of(p, 1), v = kv_of(p, 2);
  bool fits = k.heads > 0 && q.heads % k.heads == 0 && k.heads == v.heads && q.size == k.size && k.length == v.length &&
              q.batch == k.batch && q.batch == v.batch && p.out[0].size() > 0 && q.size > 0;
  if (!fits) return Verdict::no("heads that do not fit, or nothing to do");
  bool grown = p.out.size() > 2 && p.out[1].present() && p.out[2].present();
  if (p.has(4) != p.has(5) || (p.has(4) && !grown)) return Verdict::no("a cache whose grown form is not wanted");
  if (!p.has(4) && p.out.size() > 1 && (p.out[1].present() || p.out[2].present())) {
    return Verdict::no("copies of the keys or values are wanted");
  }
  if (p.has(4) && (!plain(p.in[4]) || !plain(p.in[5]) || p.in[4].dtype != DType::kFloat32)) {
    return Verdict::no("a cache that is not plain");
  }
  if (k.length + past_of(p) == 0) return Verdict::no("no keys");
  return p.has(3) ? judge_mask(p, q, k.length + past_of(p)) : Verdict::yes();
}

// Past and new rows, one behind the other, in the output for the grown cache.
struct Join {
  Heads now;
  int64_t past = 0;
  void operator()(const float* old, const float* fresh, float* to, ThreadPool& pool) const {
    const int64_t total = past + now.length;
    pool.run_ranges(
        now.batch * now.heads, 1 + 65536 / std::max<int64_t>(1, total * now.size), [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            float* at = to + i * total * now.size;
            std::memcpy(at, old + i * past * now.size, static_cast<size_t>(past * now.size) * sizeof(float));
            const float* from = fresh + i / now.heads * now.strides.batch + i % now.heads * now.strides.head;
            for (int64_t r = 0; r < now.length; ++r) {
              std::memcpy(at + (past + r) * now.size, from + r * now.strides.row,
                          static_cast<size_t>(now.size) * sizeof(float));
            }
          }
        });
  }
};

cpu::HeadStrides cache_strides(const Heads& h, int64_t total) {
  return {h.heads * total * h.size, total * h.size, h.size};
}

void describe_mask(const Problem& p, cpu::Attention& a) {
  const Operand& mask = p.in[3];
  a.mask_is_bool = mask.dtype == DType::kBool;
  int64_t* strides[] = {&a.mask_key, &a.mask_row, &a.mask_head, &a.mask_batch};
  int64_t step = 1;
  for (size_t i = 0; i < mask.dims.size(); ++i) {
    int64_t extent = mask.dims[mask.dims.size() - 1 - i];
    *strides[i] = extent == 1 ? 0 : step;
    step *= extent;
  }
}

std::unique_ptr<Kernel> prepare_blocks(const Problem& p, WeightStore&) {
  Heads q = q_of(p), k = kv_of(p, 1), v = kv_of(p, 2);
  cpu::Attention a;
  a.batch = q.batch;
  a.heads = q.heads;
  a.kv_heads = k.heads;
  a.queries = q.length;
  a.past = past_of(p);
  a.keys = k.length + a.past;
  a.size = q.size;
  a.v_size = v.size;
  a.scale = static_cast<float>(p.attrs().number("scale", 1 / std::sqrt(static_cast<double>(q.size))));
  a.causal = p.attrs().integer("is_causal", 0) != 0;
  bool cache = p.has(4), masked = p.has(3);
  a.q = q.strides;
  a.k = cache ? cache_strides(k, a.keys) : k.strides;
  a.v = cache ? cache_strides(v, a.keys) : v.strides;
  a.out = heads_of(p.out[0], q.heads).strides;
  if (masked) describe_mask(p, a);
  Join join_k{k, a.past}, join_v{v, a.past};
  int64_t workspace = cpu::attention_workspace_floats(a, p.threads) * static_cast<int64_t>(sizeof(float));
  auto run = [=](const RunArgs& args) {
    const auto* in = reinterpret_cast<const float* const*>(args.in);
    const float *keys = in[1], *values = in[2];
    if (cache) {
      auto *grown_keys = static_cast<float*>(args.out[1]), *grown_values = static_cast<float*>(args.out[2]);
      join_k(in[4], keys, grown_keys, args.pool);
      join_v(in[5], values, grown_values, args.pool);
      keys = grown_keys;
      values = grown_values;
    }
    cpu::attention(a, in[0], keys, values, masked ? args.in[3] : nullptr, static_cast<float*>(args.out[0]),
                   static_cast<float*>(args.workspace), args.pool);
  };
  return make_kernel(run, workspace);
}

}  // namespace

void define_attention_cpu(TacticTable& table) { table.add("Attention", {{"blocks", judge_blocks, prepare_blocks}}); }

}  // namespace tenon
