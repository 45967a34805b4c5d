// Help for tests that run graphs: seeded inputs for a graph, and how far results are from the wanted ones.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "graph/op.hpp"
#include "graph/type.hpp"

namespace tenon::testing {

/// A small generator, so that a seed gives the same numbers everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 0x1234567) {}
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1dull >> 16;
  }
  int64_t in(int64_t low, int64_t high) {  // inclusive
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
  }
  double real() { return static_cast<double>(next() % 2000001) * 1e-6 - 1.0; }
  bool chance(int percent) { return in(0, 99) < percent; }

 private:
  uint64_t state_;
};

/// Numbers in [-2, 2] with an outlier now and then; small integers; every 8-bit value.
inline Tensor random_tensor(DType dtype, const Dims& dims, Random& random) {
  Tensor t = Tensor::allocate(dtype, dims);
  for (int64_t i = 0; i < t.size(); ++i) {
    if (dtype == DType::kString) {
      t.mutable_data<std::string>()[i] = "s" + std::to_string(random.in(0, 9));
    } else if (is_floating(dtype)) {
      t.set(i, random.real() * (random.chance(2) ? 20 : 2));
    } else if (dtype == DType::kBool) {
      t.set_int(i, random.in(0, 1));
    } else if (dtype == DType::kInt8) {
      t.set_int(i, random.in(-128, 127));
    } else {
      t.set_int(i, dtype == DType::kUInt8 ? random.in(0, 255) : random.in(-3, 3));
    }
  }
  return t;
}

/// One datum for each input of the graph; each symbol is `symbol`.
inline std::vector<Datum> random_inputs(const Graph& graph, uint64_t seed, int64_t symbol = 3) {
  Random random(seed);
  std::vector<Datum> out;
  for (ValueId v : graph.inputs) {
    const Type& type = graph.value(v).type;
    expect(type.is_tensor() && type.shape, "input '{}' of a test graph needs a type", graph.value(v).name);
    Dims dims;
    for (const Dim& d : *type.shape)
      dims.push_back(*d.evaluate([&](std::string_view) { return std::optional(symbol); }));
    out.emplace_back(random_tensor(type.dtype, dims, random));
  }
  return out;
}

/// Largest difference, relative to the largest wanted magnitude (at least 1); infinity where shapes, types or what is
/// not finite differ.
inline double distance(const Tensor& wanted, const Tensor& got) {
  if (wanted.defined() != got.defined()) return HUGE_VAL;
  if (!wanted.defined()) return 0;
  if (wanted.dtype() != got.dtype() || wanted.dims() != got.dims()) return HUGE_VAL;
  if (wanted.dtype() == DType::kString) return identical(wanted, got) ? 0 : HUGE_VAL;
  double scale = 1, gap = 0;
  for (int64_t i = 0; i < wanted.size(); ++i) {
    double a = wanted.at(i), b = got.at(i);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!std::isfinite(a) || !std::isfinite(b)) return HUGE_VAL;
    gap = std::max(gap, std::fabs(a - b));
  }
  for (int64_t i = 0; i < wanted.size(); ++i) {
    if (std::isfinite(wanted.at(i))) scale = std::max(scale, std::fabs(wanted.at(i)));
  }
  return gap / scale;
}

/// Where they differ most, in words.
inline std::string worst(const Tensor& wanted, const Tensor& got) {
  if (wanted.dtype() != got.dtype() || wanted.dims() != got.dims() || wanted.dtype() == DType::kString)
    return "type or shape";
  int64_t at = 0, different = 0;
  double gap = -1;
  for (int64_t i = 0; i < wanted.size(); ++i) {
    double here = std::fabs(wanted.at(i) - got.at(i));
    if (!(here <= 1e-4)) ++different;
    if (here > gap) {
      gap = here;
      at = i;
    }
  }
  if (wanted.size() == 0) return "empty";
  return fmt::format("{} of {} elements differ, most at {}: {} is wanted, {} was made; ", different, wanted.size(), at,
                     wanted.at(at), got.at(at));
}

}  // namespace tenon::testing
