#include "cpu/pointwise_plain.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/error.hpp"

namespace tenon::cpu {
namespace {

constexpr int kMaxDims = 16;

/// One run of n elements; bytes between neighbours.
struct Run {
  const char* in[3];
  int64_t step[3];
  char* out;
  int64_t out_step;
  int64_t n;
  double p, q;
};
using RunFn = void (*)(const Run& run);

template <class S>
const S& at(const Run& run, int operand, int64_t i) {
  return *reinterpret_cast<const S*>(run.in[operand] + i * run.step[operand]);
}

// What an op of that class can be compiled for.
constexpr bool allowed(EwTypes types, bool is_float, bool is_bool) {
  switch (types) {
    case EwTypes::kFloat: return is_float;
    case EwTypes::kInt: return !is_float && !is_bool;
    case EwTypes::kNum:
    case EwTypes::kLogic: return true;
  }
  return false;
}

#define TENON_RUN(Name, Types, Result, call) \
  template <class S> \
  RunFn plain_##Name() { \
    if constexpr (allowed(EwTypes::k##Types, std::is_floating_point_v<S>, std::is_same_v<S, bool>)) { \
      return [](const Run& run) { \
        [[maybe_unused]] const S p = static_cast<S>(run.p), q = static_cast<S>(run.q); \
        for (int64_t i = 0; i < run.n; ++i) { \
          *reinterpret_cast<Result*>(run.out + i * run.out_step) = ew::ref_##Name<S> call; \
        } \
      }; \
    } else { \
      return nullptr; \
    } \
  }
#define TENON_EW_UNARY(Name, Types, expr) TENON_RUN(Name, Types, S, (at<S>(run, 0, i), p, q))
#define TENON_EW_UNARY_BOOL(Name, Types, expr) TENON_RUN(Name, Types, bool, (at<S>(run, 0, i), p, q))
#define TENON_EW_BINARY(Name, Types, expr) TENON_RUN(Name, Types, S, (at<S>(run, 0, i), at<S>(run, 1, i)))
#define TENON_EW_BINARY_BOOL(Name, Types, expr) TENON_RUN(Name, Types, bool, (at<S>(run, 0, i), at<S>(run, 1, i)))
#define TENON_EW_TERNARY(Name, Types, expr) \
  TENON_RUN(Name, Types, S, (first_of_three<S>(run, EwOp::k##Name, i), at<S>(run, 1, i), at<S>(run, 2, i)))

/// Where's condition is bool whatever the operands are.
template <class S>
S first_of_three(const Run& run, EwOp op, int64_t i) {
  return op == EwOp::kWhere ? static_cast<S>(at<bool>(run, 0, i)) : at<S>(run, 0, i);
}

#include "ops/elementwise.def"

template <class S>
struct Table {
  RunFn run[static_cast<int>(EwOp::kCount)] = {
#define TENON_EW_UNARY(Name, Types, expr) plain_##Name<S>(),
#define TENON_EW_UNARY_BOOL(Name, Types, expr) plain_##Name<S>(),
#define TENON_EW_BINARY(Name, Types, expr) plain_##Name<S>(),
#define TENON_EW_BINARY_BOOL(Name, Types, expr) plain_##Name<S>(),
#define TENON_EW_TERNARY(Name, Types, expr) plain_##Name<S>(),
#include "ops/elementwise.def"
  };
};

template <class S>
RunFn find(EwOp op) {
  static const Table<S> table;
  return table.run[static_cast<int>(op)];
}

// The commonest arithmetic on neighbours in memory, in a form that compilers turn into vectors.
template <class S>
RunFn find_dense(EwOp op) {
  using U = std::make_unsigned_t<S>;  // integers wrap
#define TENON_DENSE(sign) \
  [](const Run& run) { \
    const auto *a = reinterpret_cast<const U*>(run.in[0]), *b = reinterpret_cast<const U*>(run.in[1]); \
    auto* out = reinterpret_cast<U*>(run.out); \
    for (int64_t i = 0; i < run.n; ++i) out[i] = static_cast<U>(a[i] sign b[i]); \
  }
  if (op == EwOp::kAdd) return TENON_DENSE(+);
  if (op == EwOp::kSub) return TENON_DENSE(-);
#undef TENON_DENSE
  return nullptr;
}

RunFn find_dense(EwOp op, DType dtype) {
  switch (dtype) {
    case DType::kInt8:
    case DType::kUInt8: return find_dense<int8_t>(op);
    case DType::kInt32:
    case DType::kUInt32: return find_dense<int32_t>(op);
    case DType::kInt64:
    case DType::kUInt64: return find_dense<int64_t>(op);
    default: return nullptr;
  }
}

// Rows too short for their fixed cost: `rows` of them at a time, an operand that is the same for each row repeated.
struct Repeated {
  static constexpr int64_t kBytes = 2048;
  char row[2][kBytes];
};

struct Found {
  RunFn run = nullptr;
  int size = 0;
};

Found find(EwOp op, DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return {find<float>(op), 4};
    case DType::kFloat64: return {find<double>(op), 8};
    case DType::kInt8: return {find<int8_t>(op), 1};
    case DType::kUInt8: return {find<uint8_t>(op), 1};
    case DType::kInt16: return {find<int16_t>(op), 2};
    case DType::kUInt16: return {find<uint16_t>(op), 2};
    case DType::kInt32: return {find<int32_t>(op), 4};
    case DType::kUInt32: return {find<uint32_t>(op), 4};
    case DType::kInt64: return {find<int64_t>(op), 8};
    case DType::kUInt64: return {find<uint64_t>(op), 8};
    case DType::kBool: return {find<bool>(op), 1};
    default: return {};
  }
}

}  // namespace

namespace {

// Calls fn for each index of the first `rank` dimensions.
template <class F>
void walk(F&& fn, std::span<const int64_t> dims, int rank, std::span<const PlainOperand> inputs, const int64_t* size,
          Run& run, std::span<const int64_t> out_strides, int out_size) {
  int64_t index[kMaxDims] = {};
  for (;;) {
    fn(run);
    int d = rank - 1;
    for (; d >= 0; --d) {
      const int64_t move = ++index[d] < dims[d] ? 1 : 1 - dims[d];  // on, or back to the start
      for (size_t i = 0; i < inputs.size(); ++i) run.in[i] += move * inputs[i].strides[d] * size[i];
      run.out += move * out_strides[d] * out_size;
      if (move == 1) break;
      index[d] = 0;
    }
    if (d < 0) return;
  }
}

void run_dense(RunFn fn, int size, std::span<const int64_t> dims, std::span<const PlainOperand> inputs, Run& run,
               std::span<const int64_t> out_strides) {
  const int rank = static_cast<int>(dims.size());
  const int64_t sizes[2] = {size, size}, n = run.n, row = n * size;
  bool repeats = rank > 1 && 4 * row <= Repeated::kBytes && out_strides[rank - 2] == n;
  for (const PlainOperand& x : inputs) repeats = repeats && (x.strides[rank - 2] == n || x.strides[rank - 2] == 0);
  if (!repeats) return walk(fn, dims, rank - 1, inputs, sizes, run, out_strides, size);
  const int64_t rows = dims[rank - 2], at_once = std::min(rows, Repeated::kBytes / row);
  Repeated repeated;
  walk(
      [&](const Run& first) {
        Run r = first;
        bool same[2];
        for (size_t i = 0; i < 2; ++i) {
          same[i] = inputs[i].strides[rank - 2] == 0;
          for (int64_t k = 0; same[i] && k < at_once; ++k)
            std::memcpy(repeated.row[i] + k * row, first.in[i], static_cast<size_t>(row));
          if (same[i]) r.in[i] = repeated.row[i];
        }
        for (int64_t y = 0; y < rows; y += at_once) {
          const int64_t count = std::min(at_once, rows - y);
          r.n = count * n;
          fn(r);
          for (size_t i = 0; i < 2; ++i) r.in[i] += same[i] ? 0 : count * row;
          r.out += count * row;
        }
      },
      dims, rank - 2, inputs, sizes, run, out_strides, size);
}

}  // namespace

bool has_plain(EwOp op, DType dtype) { return find(op, dtype).run != nullptr; }

void run_plain(EwOp op, DType dtype, std::span<const int64_t> dims, std::span<const PlainOperand> inputs, void* out,
               std::span<const int64_t> out_strides, double p, double q) {
  const Found found = find(op, dtype);
  if (!found.run)
    fail(Code::kUnsupported, "{} is not defined for elements of type number {}", info(op).name, int(dtype));
  const int rank = static_cast<int>(dims.size());
  TENON_CHECK(static_cast<int>(inputs.size()) == info(op).arity && rank <= kMaxDims);
  const int out_size = info(op).gives_bool ? 1 : found.size;
  Run run = {{}, {}, static_cast<char*>(out), 0, 1, p, q};
  int64_t size[3] = {};
  for (size_t i = 0; i < inputs.size(); ++i) {
    size[i] = op == EwOp::kWhere && i == 0 ? 1 : found.size;
    run.in[i] = static_cast<const char*>(inputs[i].data);
    if (rank > 0) run.step[i] = inputs[i].strides[rank - 1] * size[i];
  }
  if (rank > 0) {
    run.n = dims[rank - 1];
    run.out_step = out_strides[rank - 1] * out_size;
  }
  for (int64_t d : dims) {
    if (d == 0) return;
  }
  bool dense = inputs.size() == 2 && run.out_step == found.size;
  for (size_t i = 0; i < inputs.size(); ++i) dense = dense && run.step[i] == found.size;
  const RunFn quick = dense ? find_dense(op, dtype) : nullptr;
  if (quick != nullptr) {
    run_dense(quick, found.size, dims, inputs, run, out_strides);
  } else {
    walk(found.run, dims, rank - 1, inputs, size, run, out_strides, out_size);
  }
}

}  // namespace tenon::cpu
