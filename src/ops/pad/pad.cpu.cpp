// CPU tactic of Pad, all modes, either format: the body is one strided copy, then each axis in turn grows its two ends
// by strided copies out of what the result holds already.
#include "base/error.hpp"
#include "cpu/transpose.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

constexpr size_t kMostRegions = 64;

struct Pads {
  Ints begins, ends;
  std::string mode;
};

std::optional<Pads> pads_of(const Problem& p) {
  if (p.in[1].constant == nullptr || (p.has(3) && p.in[3].constant == nullptr)) return std::nullopt;
  size_t rank = p.in[0].dims.size();
  Ints pads = p.in[1].constant->to_ints(), axes;
  if (p.has(3)) {
    axes = p.in[3].constant->to_ints();
  } else {
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (pads.size() != 2 * axes.size()) return std::nullopt;
  Pads out{Ints(rank, 0), Ints(rank, 0), p.attrs().string("mode", "constant")};
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t axis = axes[i] < 0 ? axes[i] + static_cast<int64_t>(rank) : axes[i];
    if (axis < 0 || axis >= static_cast<int64_t>(rank)) return std::nullopt;
    out.begins[static_cast<size_t>(axis)] = pads[i];
    out.ends[static_cast<size_t>(axis)] = pads[axes.size() + i];
  }
  return out;
}

// The input position for a position outside of it.
int64_t mirror(const std::string& mode, int64_t at, int64_t extent) {
  if (mode == "edge" || extent == 1) return at < 0 ? 0 : extent - 1;
  if (mode == "wrap") return ((at % extent) + extent) % extent;
  int64_t period = 2 * (extent - 1);
  at = ((at % period) + period) % period;
  return at < extent ? at : period - at;
}

// Positions [to, to + count) of an axis come from positions `from`, from + step, ...
struct Run {
  int64_t to, from, step, count;
};

// The padded positions of one axis as runs whose sources advance evenly; body: [begin, begin + extent).
std::vector<Run> runs_of(const Pads& pads, size_t axis, int64_t extent, int64_t total) {
  std::vector<Run> out;
  int64_t begin = pads.begins[axis];
  for (int64_t k = 0; k < total; ++k) {
    if (k >= begin && k < begin + extent) {
      k = begin + extent - 1;
      continue;
    }
    int64_t from = begin + mirror(pads.mode, k - begin, extent);
    if (!out.empty() && out.back().to + out.back().count == k) {
      Run& last = out.back();
      int64_t step = from - (last.from + last.step * (last.count - 1));
      if (last.count == 1 && step >= -1 && step <= 1) last.step = step;
      if (step == last.step && step >= -1 && step <= 1) {
        ++last.count;
        continue;
      }
    }
    out.push_back({k, from, 0, 1});
  }
  return out;
}

Verdict judge(const Problem& p) {
  const Operand &x = p.in[0], &y = p.out[0];
  if (bits(x.dtype) % 8 != 0 || bits(x.dtype) > 64) return Verdict::no("not for {}", name(x.dtype));
  if (x.rank() == 0 || x.rank() > cpu::CopyPlan::kMaxDims) return Verdict::no("rank {}", x.rank());
  if (x.size() == 0 || y.size() == 0) return Verdict::no("an empty operand");
  auto pads = pads_of(p);
  if (!pads) return Verdict::no("the pads are not constant");
  if (p.has(2) && (p.in[2].size() != 1 || p.in[2].dtype != x.dtype)) return Verdict::no("the value is not one element");
  size_t regions = 0;
  for (size_t i = 0; i < x.dims.size(); ++i) {
    if (y.dims[i] != x.dims[i] + pads->begins[i] + pads->ends[i]) return Verdict::no("the shapes are not the pads'");
    if (pads->mode == "constant") continue;
    if (pads->begins[i] < 0 || pads->ends[i] < 0) return Verdict::no("mode {} with negative pads", pads->mode);
    regions += runs_of(*pads, i, x.dims[i], y.dims[i]).size();
  }
  if (regions > kMostRegions) return Verdict::no("the pads wrap around more than {} times", kMostRegions);
  return Verdict::yes().with_strides();
}

// A copy between places of one tensor, or into it.
struct Region {
  enum class Source : uint8_t { kInput, kValue, kOutput };
  cpu::CopyPlan plan;
  Source source;
  int64_t from, to;  // bytes
};

class PadPlan {
 public:
  explicit PadPlan(const Problem& p) : x_(p.in[0]), y_(p.out[0]), pads_(*pads_of(p)), element_(bits(x_.dtype) / 8) {
    size_t rank = x_.dims.size();
    for (size_t i = 0; i < rank; ++i) {
      int64_t begin = std::max<int64_t>(pads_.begins[i], 0);
      int64_t end = std::min(y_.dims[i], pads_.begins[i] + x_.dims[i]);
      first_.push_back(begin);
      size_.push_back(std::max<int64_t>(end - begin, 0));
      source_ += std::max<int64_t>(-pads_.begins[i], 0) * x_.strides[i];
    }
    bool constant = pads_.mode == "constant";
    if (element_count(size_) > 0) {
      add(Region::Source::kInput, x_.strides, source_);
    } else {  // cropped away entirely: all is padding
      first_.assign(rank, 0);
      size_.assign(rank, 0);
    }
    for (size_t i = rank; i-- > 0;) constant ? fill_axis(i) : grow_axis(i);
  }
  std::vector<Region> take() { return std::move(regions_); }

 private:
  // Copies to the box at first_ of size_ in the result.
  void add(Region::Source source, const Ints& strides, int64_t offset) {
    int64_t to = 0;
    for (size_t i = 0; i < first_.size(); ++i) to += first_[i] * y_.strides[i];
    regions_.push_back({cpu::make_copy(static_cast<int>(element_), size_, strides, y_.strides), source,
                        offset * element_, to * element_});
  }

  void with_range(size_t axis, int64_t first, int64_t count, Region::Source source, const Ints& strides,
                  int64_t offset) {
    std::swap(first_[axis], first);
    std::swap(size_[axis], count);
    if (element_count(size_) > 0) add(source, strides, offset);
    std::swap(first_[axis], first);
    std::swap(size_[axis], count);
  }

  void fill_axis(size_t axis) {
    Ints still(first_.size(), 0);
    bool nothing = size_[axis] == 0;
    int64_t end = nothing ? 0 : first_[axis] + size_[axis];
    if (!nothing) with_range(axis, 0, first_[axis], Region::Source::kValue, still, 0);
    with_range(axis, end, y_.dims[axis] - end, Region::Source::kValue, still, 0);
    first_[axis] = 0;
    size_[axis] = y_.dims[axis];
  }

  void grow_axis(size_t axis) {
    for (const Run& run : runs_of(pads_, axis, x_.dims[axis], y_.dims[axis])) {
      Ints strides = y_.strides;
      strides[axis] *= run.step;
      int64_t from = run.from * y_.strides[axis];
      for (size_t i = 0; i < first_.size(); ++i) from += i == axis ? 0 : first_[i] * y_.strides[i];
      with_range(axis, run.to, run.count, Region::Source::kOutput, strides, from);
    }
    first_[axis] = 0;
    size_[axis] = y_.dims[axis];
  }

  const Operand &x_, &y_;
  Pads pads_;
  int64_t element_;
  Dims size_;
  Ints first_;
  int64_t source_ = 0;
  std::vector<Region> regions_;
};

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  return make_kernel([regions = PadPlan(p).take(), value = p.has(2)](const RunArgs& a) {
    static constexpr int64_t kZero = 0;
    auto* out = static_cast<std::byte*>(a.out[0]);
    const void* bases[] = {a.in[0], value ? a.in[2] : &kZero, out};
    for (const Region& r : regions) {
      const auto* from = static_cast<const std::byte*>(bases[static_cast<size_t>(r.source)]);
      cpu::run_copy(r.plan, from + r.from, out + r.to, a.pool);
    }
  });
}

}  // namespace

void define_pad_cpu(TacticTable& table) { table.add("Pad", {{"copies", judge, prepare}}); }

}  // namespace tenon
