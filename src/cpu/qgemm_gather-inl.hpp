// Text for the instruction-set files, included inside their own namespaces (hence no #pragma once): the walk
// over output pixels that turns a patch into a row. Copy::copy(T* to, const uint8_t* from, int64_t n, uint8_t
// flip) may write up to 63 elements too many; what follows in the buffer is written later.

template <class Copy, class T>
inline void gather_taps(const Gather& g, const uint8_t* row, int64_t ix, T* out) {
  for (int64_t j = 0; j < g.kw; ++j, ix += g.dw, out += g.channels) {
    if (ix >= 0 && ix < g.iw) {
      Copy::copy(out, row + ix * g.pixel_stride, g.channels, g.flip);
    } else {
      for (int64_t c = 0; c < g.channels; ++c) out[c] = static_cast<T>(g.fill);
    }
  }
}

template <class Copy, class T>
inline void gather_rows(const Gather& g, int64_t row_begin, int64_t rows, T* dst) {
  const bool dense = g.kw == 1 || (g.dw == 1 && g.pixel_stride == g.channels);
  const int64_t run = g.kw * g.channels;
  const int64_t tail = g.k_padded - g.kh * run;
  int64_t n = row_begin / (g.oh * g.ow);
  int64_t y = row_begin / g.ow % g.oh;
  int64_t x = row_begin % g.ow;
  for (int64_t r = 0; r < rows; ++r) {
    T* out = dst + r * g.k_padded;
    const uint8_t* image = g.src + n * g.batch_stride;
    const int64_t ix = x * g.sw - g.pad_left;
    const bool inside = dense && ix >= 0 && ix + (g.kw - 1) * g.dw < g.iw;
    int64_t iy = y * g.sh - g.pad_top;
    for (int64_t i = 0; i < g.kh; ++i, iy += g.dh, out += run) {
      if (iy < 0 || iy >= g.ih) {
        for (int64_t c = 0; c < run; ++c) out[c] = static_cast<T>(g.fill);
      } else if (inside) {
        Copy::copy(out, image + iy * g.row_stride + ix * g.pixel_stride, run, g.flip);
      } else {
        gather_taps<Copy>(g, image + iy * g.row_stride, ix, out);
      }
    }
    for (int64_t i = 0; i < tail; ++i) out[i] = 0;
    if (++x == g.ow) {
      x = 0;
      if (++y == g.oh) y = 0, ++n;
    }
  }
}
