#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rnn.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include "cpu/rnn.hpp"

#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Highway first
#include "cpu/math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace tenon::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kLanes = HWY_LANES(float);

HWY_INLINE V sigmoid(V x) { return V(1.0) / (V(1.0) + exp(-x)); }

/// Calls f(i, load, store) for whole vectors and once for what is left.
template <class F>
HWY_INLINE void each(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    f(
        i, [](const float* p) HWY_ATTR { return load(p); }, [](V v, float* p) HWY_ATTR { store(v, p); });
  }
  const int64_t rest = n - i;
  if (rest > 0) {
    f(
        i, [rest](const float* p) HWY_ATTR { return load_n(p, rest); },
        [rest](V v, float* p) HWY_ATTR { store_n(v, p, rest); });
  }
}

}  // namespace

void lstm_work(const float* gates, float* c, float* h, int64_t hidden) {
  each(hidden, [=](int64_t i, auto get, auto put) HWY_ATTR {
    const V in = sigmoid(get(gates + i)), out = sigmoid(get(gates + hidden + i));
    const V forget = sigmoid(get(gates + 2 * hidden + i)), fresh = tanh(get(gates + 3 * hidden + i));
    const V state = forget * get(c + i) + in * fresh;
    put(state, c + i);
    put(out * tanh(state), h + i);
  });
}

void gru_linear_work(const float* x, const float* r, float* h, int64_t hidden) {
  each(hidden, [=](int64_t i, auto get, auto put) HWY_ATTR {
    const V z = sigmoid(get(x + i) + get(r + i));
    const V reset = sigmoid(get(x + hidden + i) + get(r + hidden + i));
    const V fresh = tanh(get(x + 2 * hidden + i) + reset * get(r + 2 * hidden + i));
    put((V(1.0) - z) * fresh + z * get(h + i), h + i);
  });
}

void gru_reset_work(float* gates, const float* h, float* gated, int64_t hidden) {
  each(hidden, [=](int64_t i, auto get, auto put) HWY_ATTR {
    put(sigmoid(get(gates + hidden + i)) * get(h + i), gated + i);
    put(sigmoid(get(gates + i)), gates + i);
  });
}

void gru_update_work(const float* z, const float* candidate, float* h, int64_t hidden) {
  each(hidden, [=](int64_t i, auto get, auto put) HWY_ATTR {
    const V keep = get(z + i);
    put((V(1.0) - keep) * tanh(get(candidate + i)) + keep * get(h + i), h + i);
  });
}

void rnn_work(const float* sum, float* h, int64_t hidden) {
  each(hidden, [=](int64_t i, auto get, auto put) HWY_ATTR { put(tanh(get(sum + i)), h + i); });
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(lstm_work);
HWY_EXPORT(gru_linear_work);
HWY_EXPORT(gru_reset_work);
HWY_EXPORT(gru_update_work);
HWY_EXPORT(rnn_work);

void lstm_cell(const float* gates, float* c, float* h, int64_t hidden) {
  HWY_DYNAMIC_DISPATCH(lstm_work)(gates, c, h, hidden);
}
void gru_cell_linear(const float* x, const float* r, float* h, int64_t hidden) {
  HWY_DYNAMIC_DISPATCH(gru_linear_work)(x, r, h, hidden);
}
void gru_reset(float* gates, const float* h, float* gated, int64_t hidden) {
  HWY_DYNAMIC_DISPATCH(gru_reset_work)(gates, h, gated, hidden);
}
void gru_update(const float* z, const float* candidate, float* h, int64_t hidden) {
  HWY_DYNAMIC_DISPATCH(gru_update_work)(z, candidate, h, hidden);
}
void rnn_cell(const float* sum, float* h, int64_t hidden) { HWY_DYNAMIC_DISPATCH(rnn_work)(sum, h, hidden); }

}  // namespace tenon::cpu
#endif
