// Text for the instruction-set files, included inside their own namespaces (hence no #pragma once): the walk over
// output pixels that turns each patch into a row. Copy::rows(T* to, int64_t to_step, const uint8_t* from, int64_t
// from_step, int64_t count, int64_t n, uint8_t flip) copies `count` runs of n bytes. What lies between a row's depth
// and k_padded is left as it is: the weights there are 0.

template <class T>
inline void fill_run(T* to, int64_t n, T value) {
  for (int64_t i = 0; i < n; ++i) to[i] = value;
}

// One kernel row of one pixel, tap by tap: at the borders, or when the taps are not neighbours.
template <class Copy, class T>
inline void gather_taps(const Gather& g, const uint8_t* row, int64_t ix, T* out) {
  for (int64_t j = 0; j < g.kw; ++j, ix += g.dw, out += g.channels) {
    if (ix >= 0 && ix < g.iw) {
      Copy::rows(out, 0, row + ix * g.pixel_stride, 0, 1, g.channels, g.flip);
    } else {
      fill_run(out, g.channels, static_cast<T>(g.fill));
    }
  }
}

// Pixels [x, x + count) of one output line whose patches take all taps from inside the picture: [first, last).
struct Inside {
  int64_t first, last;

  Inside(const Gather& g, int64_t x, int64_t count) : first(x), last(x) {
    const bool neighbours = g.kw == 1 || (g.dw == 1 && g.pixel_stride == g.channels);
    const int64_t room = g.iw - 1 - (g.kw - 1) * g.dw + g.pad_left;  // greatest x * sw
    if (!neighbours || room < 0) return;
    const int64_t begin = (g.pad_left + g.sw - 1) / g.sw;
    const int64_t end = room / g.sw + 1;
    first = begin < x ? x : begin > x + count ? x + count : begin;
    last = end < first ? first : end > x + count ? x + count : end;
  }
};

template <class Copy, class T>
inline void gather_line(const Gather& g, const uint8_t* image, int64_t y, int64_t x, int64_t count, T* dst) {
  const Inside inside(g, x, count);
  const int64_t run = g.kw * g.channels;
  int64_t iy = y * g.sh - g.pad_top;
  for (int64_t i = 0; i < g.kh; ++i, iy += g.dh) {
    T* out = dst + i * run;
    if (iy < 0 || iy >= g.ih) {
      for (int64_t p = 0; p < count; ++p) fill_run(out + p * g.k_padded, run, static_cast<T>(g.fill));
      continue;
    }
    const uint8_t* row = image + iy * g.row_stride;
    for (int64_t p = x; p < inside.first; ++p)
      gather_taps<Copy>(g, row, p * g.sw - g.pad_left, out + (p - x) * g.k_padded);
    if (inside.first < inside.last) {
      Copy::rows(out + (inside.first - x) * g.k_padded, g.k_padded,
                 row + (inside.first * g.sw - g.pad_left) * g.pixel_stride, g.sw * g.pixel_stride,
                 inside.last - inside.first, run, g.flip);
    }
    for (int64_t p = inside.last; p < x + count; ++p)
      gather_taps<Copy>(g, row, p * g.sw - g.pad_left, out + (p - x) * g.k_padded);
  }
}

template <class Copy, class T>
inline void gather_rows(const Gather& g, int64_t row_begin, int64_t rows, T* dst) {
  int64_t n = row_begin / (g.oh * g.ow);
  int64_t y = row_begin / g.ow % g.oh;
  int64_t x = row_begin % g.ow;
  while (rows > 0) {
    const int64_t count = rows < g.ow - x ? rows : g.ow - x;
    gather_line<Copy>(g, g.src + n * g.batch_stride, y, x, count, dst);
    dst += count * g.k_padded;
    rows -= count;
    x = 0;
    if (++y == g.oh) y = 0, ++n;
  }
}
