#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "vision/letterbox.hpp"

namespace tenon::vision {
namespace {

// ---- two taps, 11 bits: OpenCV's INTER_LINEAR ----

struct Tap {
  int first, second;                // source positions
  int first_weight, second_weight;  // in 1/2048
};

std::vector<Tap> bilinear_taps(int from, int to) {
  std::vector<Tap> taps(to);
  const double step = static_cast<double>(from) / to;
  for (int i = 0; i < to; ++i) {
    auto position = static_cast<float>((i + 0.5) * step - 0.5);
    int first = static_cast<int>(std::floor(position));
    position -= static_cast<float>(first);
    if (first < 0) first = 0, position = 0;
    if (first >= from - 1) first = from - 1, position = 0;
    taps[i] = {first, std::min(first + 1, from - 1), static_cast<int>(std::lrint((1.f - position) * 2048)),
               static_cast<int>(std::lrint(position * 2048))};
  }
  return taps;
}

void blend_columns(const uint8_t* source, const std::vector<Tap>& taps, int32_t* out) {
  for (const Tap& tap : taps) {
    const uint8_t* a = source + static_cast<size_t>(tap.first) * 3;
    const uint8_t* b = source + static_cast<size_t>(tap.second) * 3;
    for (int c = 0; c < 3; ++c) *out++ = a[c] * tap.first_weight + b[c] * tap.second_weight;
  }
}

void blend_rows(const int32_t* a, const int32_t* b, const Tap& tap, size_t count, uint8_t* out) {
  const int32_t wa = tap.first_weight, wb = tap.second_weight;
  for (size_t i = 0; i < count; ++i)
    out[i] = static_cast<uint8_t>((((wa * (a[i] >> 4)) >> 16) + ((wb * (b[i] >> 4)) >> 16) + 2) >> 2);
}

// ---- triangle filter, 22 bits: Pillow's BILINEAR ----

constexpr int kFilterBits = 22;

struct Filter {
  int first = 0;
  std::vector<int32_t> weights;
};

std::vector<Filter> triangle_filters(int from, int to) {
  const double step = static_cast<double>(from) / to;
  const double support = std::max(step, 1.0);
  std::vector<Filter> filters(to);
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * step;
    const int first = std::max(0, static_cast<int>(centre - support + 0.5));
    const int last = std::min(from, static_cast<int>(centre + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int x = first; x < last; ++x) {
      weights.push_back(std::max(0.0, 1.0 - std::abs((x - centre + 0.5) / support)));
      sum += weights.back();
    }
    filters[i].first = first;
    for (double w : weights)
      filters[i].weights.push_back(static_cast<int32_t>(0.5 + (sum != 0 ? w / sum : w) * (1 << kFilterBits)));
  }
  return filters;
}

uint8_t settle(int64_t sum) { return static_cast<uint8_t>(std::clamp<int64_t>(sum >> kFilterBits, 0, 255)); }

Image filter_columns(const Image& image, int width) {
  const auto filters = triangle_filters(image.width, width);
  Image out(width, image.height);
  for (int y = 0; y < image.height; ++y) {
    uint8_t* to = out.row(y);
    for (const Filter& filter : filters) {
      const uint8_t* from = image.row(y) + static_cast<size_t>(filter.first) * 3;
      int64_t sum[3] = {1 << (kFilterBits - 1), 1 << (kFilterBits - 1), 1 << (kFilterBits - 1)};
      for (size_t k = 0; k < filter.weights.size(); ++k)
        for (int c = 0; c < 3; ++c) sum[c] += int64_t{from[k * 3 + c]} * filter.weights[k];
      for (int c = 0; c < 3; ++c) *to++ = settle(sum[c]);
    }
  }
  return out;
}

Image filter_rows(const Image& image, int height) {
  const auto filters = triangle_filters(image.height, height);
  Image out(image.width, height);
  const size_t count = static_cast<size_t>(image.width) * 3;
  std::vector<int64_t> sums(count);
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 1 << (kFilterBits - 1));
    for (size_t k = 0; k < filters[y].weights.size(); ++k) {
      const uint8_t* from = image.row(filters[y].first + static_cast<int>(k));
      const int64_t weight = filters[y].weights[k];
      for (size_t i = 0; i < count; ++i) sums[i] += from[i] * weight;
    }
    std::transform(sums.begin(), sums.end(), out.row(y), settle);
  }
  return out;
}

void check_sides(const Image& image, int width, int height) {
  expect(!image.empty(), "an empty picture cannot be resized");
  expect(width > 0 && height > 0, "a picture cannot be resized to {} x {}", width, height);
}

}  // namespace

Image resize_bilinear(const Image& image, int width, int height) {
  check_sides(image, width, height);
  if (width == image.width && height == image.height) return image;
  const auto columns = bilinear_taps(image.width, width);
  const auto rows = bilinear_taps(image.height, height);
  Image out(width, height);
  const size_t count = static_cast<size_t>(width) * 3;
  // Rows blended along x wait here for the next output rows: slot = parity of the source row.
  std::vector<int32_t> slots[2] = {std::vector<int32_t>(count), std::vector<int32_t>(count)};
  int held[2] = {-1, -1};
  const auto blended = [&](int y) {
    const int slot = y & 1;
    if (held[slot] != y) blend_columns(image.row(y), columns, slots[slot].data());
    held[slot] = y;
    return slots[slot].data();
  };
  for (int y = 0; y < height; ++y) {
    const int32_t* first = blended(rows[y].first);
    const int32_t* second = blended(rows[y].second);
    blend_rows(first, second, rows[y], count, out.row(y));
  }
  return out;
}

Image resize_antialiased(const Image& image, int width, int height) {
  check_sides(image, width, height);
  if (width == image.width && height == image.height) return image;
  if (width == image.width) return filter_rows(image, height);
  Image narrow = filter_columns(image, width);
  return height == image.height ? narrow : filter_rows(narrow, height);
}

}  // namespace tenon::vision
