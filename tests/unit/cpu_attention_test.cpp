// Attention in blocks against the formula in double, on every instruction set.
#include "cpu/attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "cpu_each_target.hpp"

namespace tenon::cpu {
namespace {

struct Case {
  int64_t batch, heads, kv_heads, queries, keys, size, v_size;
  bool packed_heads;  // (batch, length, heads * size)
  int mask;           // 0: none, 1: by key, 2: in full, 3: truth values
  bool causal;
};

HeadStrides strides(bool packed, int64_t heads, int64_t length, int64_t size) {
  if (packed) return {length * heads * size, size, heads * size};
  return {heads * length * size, length * size, size};
}

struct Data {
  std::vector<float> q, k, v, mask;
  std::vector<uint8_t> seen;
};

Data random_data(const Case& c, Attention& a) {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal(0, 1.5f);
  Data d;
  auto fill = [&](std::vector<float>& x, int64_t n) {
    x.resize(static_cast<size_t>(n));
    for (float& f : x) f = normal(rng);
  };
  fill(d.q, c.batch * c.heads * c.queries * c.size);
  fill(d.k, c.batch * c.kv_heads * c.keys * c.size);
  fill(d.v, c.batch * c.kv_heads * c.keys * c.v_size);
  if (c.mask == 1) {
    fill(d.mask, c.batch * c.keys);
    a.mask_batch = c.keys;
    a.mask_key = 1;
    if (c.keys > 3) d.mask[2] = -INFINITY;
  } else if (c.mask >= 2) {
    fill(d.mask, c.batch * c.heads * c.queries * c.keys);
    a.mask_batch = c.heads * c.queries * c.keys;
    a.mask_head = c.queries * c.keys;
    a.mask_row = c.keys;
    a.mask_key = 1;
    for (int64_t j = 0; j < c.keys; ++j) d.mask[static_cast<size_t>(j)] = -INFINITY;  // the first row sees nothing
  }
  for (float f : d.mask) d.seen.push_back(f > 0);
  a.mask_is_bool = c.mask == 3;
  return d;
}

std::vector<double> naive(const Attention& a, const Data& d, size_t size) {
  std::vector<double> out(size, 0.0), row(static_cast<size_t>(a.keys));
  for (int64_t b = 0; b < a.batch; ++b) {
    for (int64_t h = 0; h < a.heads; ++h) {
      int64_t kv = h / (a.heads / a.kv_heads);
      for (int64_t i = 0; i < a.queries; ++i) {
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < a.keys; ++j) {
          double s = 0;
          for (int64_t e = 0; e < a.size; ++e) {
            s += double(d.q[size_t(b * a.q.batch + h * a.q.head + i * a.q.row + e)]) *
                 d.k[size_t(b * a.k.batch + kv * a.k.head + j * a.k.row + e)];
          }
          s *= a.scale;
          auto m = size_t(b * a.mask_batch + h * a.mask_head + i * a.mask_row + j * a.mask_key);
          if (a.mask_is_bool) {
            s = d.seen[m] ? s : -INFINITY;
          } else if (!d.mask.empty()) {
            s += d.mask[m];
          }
          if (a.causal && j > i + a.past) s = -INFINITY;
          row[size_t(j)] = s;
          top = std::max(top, s);
        }
        for (double& s : row) sum += s = top == -INFINITY ? 0 : std::exp(s - top);
        for (int64_t e = 0; e < a.v_size; ++e) {
          double y = 0;
          for (int64_t j = 0; j < a.keys; ++j)
            y += row[size_t(j)] * d.v[size_t(b * a.v.batch + kv * a.v.head + j * a.v.row + e)];
          out[size_t(b * a.out.batch + h * a.out.head + i * a.out.row + e)] = sum > 0 ? y / sum : 0;
        }
      }
    }
  }
  return out;
}

void check(const Case& c, int threads) {
  Attention a;
  a.batch = c.batch;
  a.heads = c.heads;
  a.kv_heads = c.kv_heads;
  a.queries = c.queries;
  a.keys = c.keys;
  a.size = c.size;
  a.v_size = c.v_size;
  a.scale = 1 / std::sqrt(float(c.size));
  a.q = strides(c.packed_heads, c.heads, c.queries, c.size);
  a.k = strides(c.packed_heads, c.kv_heads, c.keys, c.size);
  a.v = strides(c.packed_heads, c.kv_heads, c.keys, c.v_size);
  a.out = strides(c.packed_heads, c.heads, c.queries, c.v_size);
  a.causal = c.causal;
  a.past = c.causal ? c.keys - c.queries : 0;
  Data d = random_data(c, a);
  auto size = static_cast<size_t>(c.batch * c.heads * c.queries * c.v_size);
  std::vector<double> want = naive(a, d, size);
  std::vector<float> got(size, NAN), workspace(size_t(attention_workspace_floats(a, threads)) + 16, NAN);
  auto* aligned = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(workspace.data()) + 63) / 64 * 64);
  ThreadPool pool(threads);
  const void* mask = c.mask == 0 ? nullptr : c.mask == 3 ? static_cast<const void*>(d.seen.data()) : d.mask.data();
  attention(a, d.q.data(), d.k.data(), d.v.data(), mask, got.data(), aligned, pool);
  for (size_t i = 0; i < size; ++i) {
    ASSERT_NEAR(got[i], want[i], 2e-5) << "element " << i << " of " << c.queries << " queries, " << c.keys << " keys";
  }
}

TEST(Attention, MatchesTheFormula) {
  for_each_target([](const char*) {
    for (int threads : {1, 3}) {
      check({1, 1, 1, 1, 1, 1, 1, false, 0, false}, threads);
      check({2, 3, 3, 7, 13, 5, 9, false, 1, false}, threads);
      check({1, 4, 2, 60, 60, 16, 17, true, 0, true}, threads);
      check({2, 2, 2, 9, 33, 8, 8, true, 2, false}, threads);
      check({1, 2, 1, 70, 1100, 24, 40, false, 3, false}, threads);  // several blocks of keys
      check({1, 2, 2, 130, 1300, 32, 32, true, 1, true}, threads);
      check({1, 4, 2, 1, 700, 64, 64, true, 1, false}, threads);  // decoding
      check({2, 2, 1, 3, 1030, 20, 12, false, 2, true}, threads);
    }
  });
}

TEST(Attention, ANotANumberStays) {
  Attention a;
  a.queries = 8;
  a.keys = 8;
  a.size = a.v_size = 4;
  a.q = a.k = a.v = a.out = {32, 32, 4};
  std::vector<float> q(32, 1), k(32, 1), v(32, 1), out(32, 0), workspace(size_t(attention_workspace_floats(a, 1)) + 16);
  q[5] = NAN;
  ThreadPool pool(1);
  auto* aligned = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(workspace.data()) + 63) / 64 * 64);
  attention(a, q.data(), k.data(), v.data(), nullptr, out.data(), aligned, pool);
  EXPECT_FLOAT_EQ(out[0], 1);
  EXPECT_TRUE(std::isnan(out[4]));
  EXPECT_FLOAT_EQ(out[8], 1);
}

}  // namespace
}  // namespace tenon::cpu
