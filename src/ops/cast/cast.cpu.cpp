// CPU tactics of Cast: the tape between floats (halves included), loops with the conversion of the reference between
// the other types that graphs cast between.
#include "base/error.hpp"
#include "tactic/pointwise_tactic.hpp"

namespace tenon {
namespace {

using Convert = void (*)(const void* from, void* to, int64_t count);

template <class From, class To>
void convert(const void* from, void* to, int64_t count) {
  const auto* x = static_cast<const From*>(from);
  auto* y = static_cast<To*>(to);
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_same_v<To, bool>) {
      y[i] = x[i] != From(0);
    } else {
      y[i] = static_cast<To>(x[i]);
    }
  }
}

template <class From>
Convert to_type(DType to) {
  switch (to) {
    case DType::kFloat32: return convert<From, float>;
    case DType::kInt32: return std::is_floating_point_v<From> ? nullptr : convert<From, int32_t>;
    case DType::kInt64: return std::is_floating_point_v<From> ? nullptr : convert<From, int64_t>;
    case DType::kUInt8: return std::is_floating_point_v<From> ? nullptr : convert<From, uint8_t>;
    case DType::kInt8: return std::is_floating_point_v<From> ? nullptr : convert<From, int8_t>;
    case DType::kBool: return convert<From, bool>;
    default: return nullptr;
  }
}

// Floats outside an integer's range saturate and NaN gives 0, as in Tensor::set.
template <class To>
void from_float(const void* from, void* to, int64_t count) {
  const auto* x = static_cast<const float*>(from);
  auto* y = static_cast<To*>(to);
  constexpr float kTop = sizeof(To) == 8 ? 0x1p63f : 0x1p31f;
  for (int64_t i = 0; i < count; ++i) {
    float v = x[i];
    y[i] = v != v      ? 0
           : v >= kTop ? std::numeric_limits<To>::max()
           : v < -kTop ? std::numeric_limits<To>::min()
                       : static_cast<To>(v);
  }
}

Convert find(DType from, DType to) {
  switch (from) {
    case DType::kFloat32:
      if (to == DType::kInt32) return from_float<int32_t>;
      if (to == DType::kInt64) return from_float<int64_t>;
      return to_type<float>(to);
    case DType::kInt32: return to_type<int32_t>(to);
    case DType::kInt64: return to_type<int64_t>(to);
    case DType::kUInt8: return to_type<uint8_t>(to);
    case DType::kInt8: return to_type<int8_t>(to);
    case DType::kBool: return to_type<bool>(to);
    default: return nullptr;
  }
}

Verdict judge(const Problem& p) {
  if (find(p.in[0].dtype, p.out[0].dtype) == nullptr) {
    return Verdict::no("from {} to {}", name(p.in[0].dtype), name(p.out[0].dtype));
  }
  if (p.in[0].format != p.out[0].format && !formats_agree(p.in[0].dims)) return Verdict::no("the formats differ");
  return Verdict::yes();
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  Convert f = find(p.in[0].dtype, p.out[0].dtype);
  int64_t count = p.in[0].size();
  int64_t from = bits(p.in[0].dtype) / 8, to = bits(p.out[0].dtype) / 8;
  return make_kernel([=](const RunArgs& a) {
    a.pool.run_ranges(count, 32768, [&](int64_t begin, int64_t end) {
      f(static_cast<const std::byte*>(a.in[0]) + begin * from, static_cast<std::byte*>(a.out[0]) + begin * to,
        end - begin);
    });
  });
}

}  // namespace

void define_cast_cpu(TacticTable& table) {
  table.add("Cast", {{"tape", judge_tape, prepare_tape}, {"convert", judge, prepare}});
}

}  // namespace tenon
