// The elementwise halves of recurrent cells in float32, with the usual activations. What the matrix products give comes
// in, the new state goes out; one call is one batch item's step of `hidden` units. Nothing is allocated; thread-safe as
// long as outputs are distinct.
#pragma once

#include <cstdint>

namespace tenon::cpu {

/// gates: i, o, f, c (each `hidden` long, before their activations). c and h are the states: c is read and both are
/// written.
void lstm_cell(const float* gates, float* c, float* h, int64_t hidden);

/// GRU with linear_before_reset. x and r: z, r, h parts of the input's and the state's product (biases included). h is
/// read and written.
void gru_cell_linear(const float* x, const float* r, float* h, int64_t hidden);

/// GRU without it, first half: gates z, r (sums of both products) become z and gated = r * h.
void gru_reset(float* gates, const float* h, float* gated, int64_t hidden);
/// Second half: h = (1 - z) * tanh(candidate) + z * h.
void gru_update(const float* z, const float* candidate, float* h, int64_t hidden);

/// h = tanh(sum).
void rnn_cell(const float* sum, float* h, int64_t hidden);

}  // namespace tenon::cpu
