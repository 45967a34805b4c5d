// Windows sliding over spatial axes: kernel, strides, dilations and padding of convolutions and pools, with ONNX's
// four ways to say the padding, for shapes that are numbers or symbols.
#pragma once

#include <optional>

#include "ops/support.hpp"

namespace tenon {

struct Window {
  Ints kernel, strides, dilations, begins, ends;  // one entry a spatial axis
  bool ceil_mode = false;
  std::string auto_pad = "NOTSET";

  size_t axes() const noexcept { return kernel.size(); }
  int64_t reach(size_t i) const noexcept { return (kernel[i] - 1) * dilations[i] + 1; }
};

namespace window_detail {

template <class Context>
Ints per_axis(const Context& ctx, std::string_view name, size_t axes, int64_t otherwise, int64_t least) {
  Ints out = ctx.attrs().ints(name, Ints(axes, otherwise));
  if (out.empty()) out.assign(axes, otherwise);
  ctx.require(out.size() == axes, "{} has {} entries for {} spatial axes", name, out.size(), axes);
  for (int64_t v : out) {
    ctx.require(v >= least && v <= int64_t{1} << 31, "{} has an entry of {}", name, v);
  }
  return out;
}

}  // namespace window_detail

/// Reads strides, dilations, pads, auto_pad and ceil_mode for a kernel and checks them. Padding that auto_pad leaves
/// to the input's extent is filled in by resolve_padding.
template <class Context>
Window read_window(const Context& ctx, Ints kernel) {
  Window w;
  size_t axes = kernel.size();
  w.kernel = std::move(kernel);
  for (int64_t k : w.kernel) ctx.require(k >= 1 && k <= int64_t{1} << 31, "the kernel has an extent of {}", k);
  w.strides = window_detail::per_axis(ctx, "strides", axes, 1, 1);
  w.dilations = window_detail::per_axis(ctx, "dilations", axes, 1, 1);
  Ints pads = window_detail::per_axis(ctx, "pads", 2 * axes, 0, 0);
  w.begins.assign(pads.begin(), pads.begin() + static_cast<int64_t>(axes));
  w.ends.assign(pads.begin() + static_cast<int64_t>(axes), pads.end());
  w.ceil_mode = ctx.attrs().integer("ceil_mode", 0) != 0;
  w.auto_pad = ctx.attrs().string("auto_pad", "NOTSET");
  bool known =
      w.auto_pad == "NOTSET" || w.auto_pad == "VALID" || w.auto_pad == "SAME_UPPER" || w.auto_pad == "SAME_LOWER";
  ctx.require(known, "auto_pad '{}' is not known (NOTSET, VALID, SAME_UPPER and SAME_LOWER are)", w.auto_pad);
  if (w.auto_pad != "NOTSET") {
    w.begins.assign(axes, 0);
    w.ends.assign(axes, 0);
  }
  return w;
}

inline bool same_padding(const Window& w) { return w.auto_pad[0] == 'S'; }

/// Output extent of axis i for an input extent, and, with SAME padding and a numeric extent, the padding.
template <class Context>
Dim window_output(const Context& ctx, Window& w, size_t i, const Dim& extent) {
  if (same_padding(w)) {
    Dim out = Dim::ceil_div(extent, w.strides[i]);
    if (extent.is_const()) {
      int64_t need = (out.value() - 1) * w.strides[i] + w.reach(i) - extent.value();
      int64_t total = std::max<int64_t>(0, need);
      w.begins[i] = w.auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.ends[i] = total - w.begins[i];
    }
    return out;
  }
  Dim room = extent + w.begins[i] + w.ends[i] - w.reach(i);
  ctx.require(!room.is_const() || room.value() >= 0,
              "the kernel reaches over {} elements along spatial axis {} but the padded input has {}", w.reach(i), i,
              (room + w.reach(i)).text());
  if (!w.ceil_mode) return Dim::floor_div(room, w.strides[i]) + 1;
  Dim out = Dim::ceil_div(room, w.strides[i]) + 1;
  if (!extent.is_const()) return out;
  // A window that begins in the padding behind the input does not count.
  return (out.value() - 1) * w.strides[i] >= extent.value() + w.begins[i] ? out - 1 : out;
}

/// As above for all spatial axes of concrete dims [N, C, ...].
template <class Context>
Dims window_outputs(const Context& ctx, Window& w, const Dims& dims) {
  Dims out;
  for (size_t i = 0; i < w.axes(); ++i) out.push_back(window_output(ctx, w, i, dims[i + 2]).value());
  return out;
}

}  // namespace tenon
