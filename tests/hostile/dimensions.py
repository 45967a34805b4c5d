"""D: dimensions and arithmetic. Sizes that overflow, small files that ask for terabytes, attributes out of any range."""
import struct

import wire as w
from corpus import ANY, BAD, RES, Case

NAN, INF = float("nan"), float("inf")
MIN, MAX = -(1 << 63), (1 << 63) - 1


def x(*dims, kind=w.FLOAT):
    return ("x", kind, list(dims))


def i64(*values, name="i"):
    return w.ints(name, values)


def fl(*values, name="f", dims=None):
    return w.tensor(name, w.FLOAT, [len(values)] if dims is None else dims, values)


def conv(dims=(1, 4, 8, 8), weight=(4, 4, 3, 3), op="Conv", **attrs):
    return w.one(op, [x(*dims), w.floats("w", weight)], **attrs)


def pool(op="MaxPool", dims=(1, 1, 8, 8), **attrs):
    return w.one(op, [x(*dims)], **attrs)


def doubling(op, count=40):
    """Each node doubles the size (Concat) or the use (Add) of the one before."""
    nodes, extra = [], {"axis": 0} if op == "Concat" else {}
    for i in range(count):
        a = f"v{i}" if i else "x"
        nodes.append(w.node(op, [a, a], [f"v{i + 1}"], **extra))
    return w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1024])], [w.value(f"v{count}")]))


def doubling_constant(count=40):
    nodes = [w.node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0) for i in range(count)]
    return w.model(w.graph(nodes, [], [w.value(f"v{count}")], [w.floats("v0", [1024])]))


def symbolic_clash():
    """One symbol for two inputs that are then given different sizes."""
    g = w.graph([w.node("Add", ["a", "b"], ["y"])], [w.value("a", w.FLOAT, ["n"]), w.value("b", w.FLOAT, ["n"])], [w.value("y", w.FLOAT, ["n"])])
    return w.model(g)


def arr(values, kind="<f4", dims=None):
    code = {"<f4": "f", "<i8": "q"}[kind]
    return kind, [len(values)] if dims is None else dims, struct.pack(f"<{len(values)}{code}", *values)


def einsum(equation, *dims):
    return w.one("Einsum", [(f"x{k}", w.FLOAT, list(d)) for k, d in enumerate(dims)], equation=equation)


def declared(dims):
    return w.one("Relu", [("x", w.FLOAT, dims)])


def const(op, *inputs, **attrs):
    return w.one(op, list(inputs), **attrs)


BOMB = (1 << 40, 1 << 10)
CASES = [
    Case("D1", "dim-0", declared([0, 3]), ANY),
    Case("D1", "dim-minus-1", declared([-1, 3]), ANY),
    Case("D1", "dim-min", declared([MIN, 3]), ANY),
    Case("D1", "init-dim-minus-1", w.one("Relu", [w.tensor("k", w.FLOAT, [-1], raw=b"\0" * 4)])),
    Case("D1", "init-dims-minus-both", w.one("Relu", [w.tensor("k", w.FLOAT, [-2, -2], raw=b"\0" * 16)])),
    Case("D1", "init-dim-0", w.one("Relu", [w.tensor("k", w.FLOAT, [0, 5], raw=b"")]), ANY),
    Case("D1", "conv-over-nothing", conv(dims=(0, 4, 8, 8)), ANY),
    Case("D1", "conv-without-pixels", conv(dims=(1, 4, 0, 8)), ANY),
    Case("D1", "pool-without-channels", pool(dims=(1, 0, 8, 8), kernel_shape=[2, 2]), ANY),
    Case("D1", "matmul-of-no-columns", const("MatMul", x(2, 0), w.tensor("k", w.FLOAT, [0, 3], raw=b"")), ANY),
    Case("D1", "softmax-of-nothing", const("Softmax", x(3, 0)), ANY),
    Case("D1", "reduce-max-of-nothing", const("ReduceMax", x(3, 0), axes=[1]), ANY),
    Case("D2", "dims-2-32-squared", declared([1 << 32, 1 << 32])),
    Case("D2", "dims-2-31-times-3", declared([1 << 31, 3]), (0, *RES)),
    Case("D2", "dims-65536-to-4", declared([65536] * 4)),
    Case("D2", "dims-2-63", declared([MAX])),
    Case("D2", "dims-2-62-of-4-bytes", declared([1 << 62])),
    Case("D2", "init-product-wraps-to-0", w.one("Relu", [w.tensor("k", w.FLOAT, [1 << 32, 1 << 32], raw=b"")])),
    Case("D2", "init-product-wraps-to-4", w.one("Relu", [w.tensor("k", w.FLOAT, [(1 << 63) + 1, 2], raw=b"\0" * 8)])),
    Case("D2", "zero-hides-overflow", w.one("Relu", [w.tensor("k", w.FLOAT, [0, 1 << 40, 1 << 40], raw=b"")]), ANY),
    Case("D3", "constant-of-shape-2-40", const("ConstantOfShape", i64(1 << 40)), BAD),
    Case("D3", "constant-of-shape-2-20-squared", const("ConstantOfShape", i64(1 << 20, 1 << 20)), BAD),
    Case("D3", "constant-of-shape-overflow", const("ConstantOfShape", i64(1 << 32, 1 << 32))),
    Case("D3", "constant-of-shape-negative", const("ConstantOfShape", i64(-4))),
    Case("D3", "expand-2-40", const("Expand", fl(1.0), i64(1 << 40))),
    Case("D3", "expand-overflow", const("Expand", x(1), i64(1 << 32, 1 << 32))),
    Case("D3", "expand-negative", const("Expand", x(1), i64(-3))),
    Case("D3", "tile-2-40", const("Tile", fl(1.0), i64(1 << 40))),
    Case("D3", "tile-overflow", const("Tile", x(4), i64(1 << 62))),
    Case("D3", "tile-negative", const("Tile", x(4), i64(-1))),
    Case("D3", "resize-2-20-fold", const("Resize", x(1, 1, 8, 8), "", fl(1.0, 1.0, 1048576.0, 1048576.0))),
    Case("D3", "resize-to-2-40", const("Resize", x(1, 1, 8, 8), "", "", i64(1, 1, 1 << 20, 1 << 20))),
    Case("D3", "range-10-12", const("Range", i64(0), i64(10 ** 12, name="e"), i64(1, name="d"), kind=w.INT64), BAD),
    Case("D3", "range-10-12-scalars", const("Range", w.ints("s", [0], dims=[]), w.ints("e", [10 ** 12], dims=[]), w.ints("d", [1], dims=[]), kind=w.INT64)),
    Case("D3", "onehot-10-12", const("OneHot", i64(1, 2), w.ints("d", [10 ** 12], dims=[]), fl(0.0, 1.0))),
    Case("D3", "onehot-negative", const("OneHot", i64(1, 2), w.ints("d", [-5], dims=[]), fl(0.0, 1.0))),
    Case("D3", "pad-2-40", const("Pad", fl(1.0), i64(0, 1 << 40))),
    Case("D3", "pad-overflow", const("Pad", x(4), i64(MAX, MAX))),
    Case("D3", "conv-pads-2-40", conv(pads=[1 << 40] * 4)),
    Case("D3", "eyelike-2-20", const("EyeLike", x(1 << 20, 1 << 20))),
    Case("D3", "gather-2-40", w.model(w.graph([w.node("ConstantOfShape", ["i"], ["c"], value=w.tensor("v", w.INT64, [1], [0])),
                                               w.node("Gather", ["x", "c"], ["y"])], [w.value("x", w.FLOAT, [4])], [w.value("y")], [i64(1 << 40)]))),
    Case("D3", "conv-transpose-stride-2-30", conv(op="ConvTranspose", strides=[1 << 30, 1 << 30])),
    Case("D3", "depth-to-space-of-much", const("SpaceToDepth", x(1, 1, 8, 8), blocksize=1 << 31)),
    Case("D4", "doubling-concat", doubling("Concat"), BAD),
    Case("D4", "doubling-concat-of-constants", doubling_constant(), BAD),
    Case("D4", "doubling-concat-20", doubling("Concat", 20), BAD),
    Case("D4", "doubling-add", doubling("Add"), ANY),
    Case("D4", "doubling-add-1000", doubling("Add", 1000), ANY),
    Case("D5", "unsqueeze-rank-10-5", const("Unsqueeze", x(2), w.ints("a", list(range(100000)))), ANY),
    Case("D5", "reshape-rank-10-5", const("Reshape", x(1), w.ints("s", [1] * 100000)), ANY),
    Case("D5", "expand-rank-10-5", const("Expand", x(1), w.ints("s", [1] * 100000)), ANY),
    Case("D5", "input-rank-10-5", declared([1] * 100000)),
    Case("D5", "rank-40", declared([1] * 40), ANY),
    Case("D5", "constant-of-shape-rank-10-5", const("ConstantOfShape", w.ints("s", [1] * 100000)), ANY),
    Case("D6", "range-delta-0", const("Range", w.ints("s", [0], dims=[]), w.ints("e", [5], dims=[]), w.ints("d", [0], dims=[]), kind=w.INT64)),
    Case("D6", "range-delta-nan", const("Range", fl(0.0, name="s", dims=[]), fl(5.0, name="e", dims=[]), fl(NAN, name="d", dims=[]))),
    Case("D6", "range-delta-tiny", const("Range", fl(0.0, name="s", dims=[]), fl(1e30, name="e", dims=[]), fl(1e-30, name="d", dims=[]))),
    Case("D6", "range-from-inf", const("Range", fl(-INF, name="s", dims=[]), fl(INF, name="e", dims=[]), fl(1.0, name="d", dims=[]))),
    Case("D6", "range-int-extremes", const("Range", w.ints("s", [MIN], dims=[]), w.ints("e", [MAX], dims=[]), w.ints("d", [1], dims=[]), kind=w.INT64)),
    Case("D7", "pad-negative-beyond", const("Pad", x(4), i64(-3, -3))),
    Case("D7", "pad-reflect-beyond", const("Pad", x(4), i64(9, 9), mode="reflect"), ANY),
    Case("D7", "pad-reflect-of-nothing", const("Pad", x(0), i64(2, 2), mode="reflect")),
    Case("D7", "pad-odd-count", const("Pad", x(4), i64(1))),
    Case("D7", "pad-mode-unknown", const("Pad", x(4), i64(1, 1), mode="mirror")),
    Case("D7", "pad-axes-twice", w.one("Pad", [x(4, 4), i64(1, 1, 1, 1), "", i64(0, 0, name="a")], version=18)),
    Case("D8", "kernel-beyond-input", conv(weight=(4, 4, 30, 30))),
    Case("D8", "kernel-shape-lies", conv(kernel_shape=[5, 5])),
    Case("D8", "kernel-shape-of-one", conv(kernel_shape=[3])),
    Case("D8", "stride-0", conv(strides=[0, 0])),
    Case("D8", "stride-negative", conv(strides=[-1, 1])),
    Case("D8", "stride-2-62", conv(strides=[1 << 62, 1 << 62]), ANY),
    Case("D8", "dilation-0", conv(dilations=[0, 0])),
    Case("D8", "dilation-2-31", conv(dilations=[1 << 31, 1 << 31])),
    Case("D8", "dilation-overflow", conv(dilations=[MAX, MAX])),
    Case("D8", "group-0", conv(group=0)),
    Case("D8", "group-negative", conv(group=-1)),
    Case("D8", "group-3-of-4", conv(group=3)),
    Case("D8", "group-2-62", conv(group=1 << 62)),
    Case("D8", "pads-of-three", conv(pads=[1, 1, 1])),
    Case("D8", "pads-negative", conv(pads=[-9, -9, -9, -9])),
    Case("D8", "auto-pad-unknown", conv(auto_pad="SOMETIMES")),
    Case("D8", "channels-differ", conv(weight=(4, 3, 3, 3))),
    Case("D8", "weight-rank-2", conv(weight=(4, 4))),
    Case("D8", "input-rank-1", conv(dims=(8,))),
    Case("D8", "bias-length", w.one("Conv", [x(1, 4, 8, 8), w.floats("w", [4, 4, 3, 3]), w.floats("b", [5])])),
    Case("D8", "bias-shorter", w.one("Conv", [x(1, 4, 8, 8), w.floats("w", [64, 4, 3, 3]), w.floats("b", [1])])),
    Case("D8", "bias-of-transposed", w.one("ConvTranspose", [x(1, 4, 8, 8), w.floats("w", [4, 64, 3, 3]), w.floats("b", [1])])),
    Case("D8", "pool-without-kernel", pool()),
    Case("D8", "pool-kernel-0", pool(kernel_shape=[0, 0])),
    Case("D8", "pool-kernel-beyond", pool(kernel_shape=[20, 20])),
    Case("D8", "pool-kernel-2-40", pool(kernel_shape=[1 << 40, 1 << 40])),
    Case("D8", "pool-stride-0", pool(kernel_shape=[2, 2], strides=[0, 1])),
    Case("D8", "pool-pads-2-62", pool(kernel_shape=[2, 2], pads=[1 << 62] * 4)),
    Case("D8", "average-pool-window-of-padding", pool("AveragePool", kernel_shape=[2, 2], pads=[2, 2, 2, 2]), ANY),
    Case("D8", "conv-transpose-output-padding", conv(op="ConvTranspose", output_padding=[1 << 40, 1]), BAD),
    Case("D8", "conv-transpose-output-shape-0", conv(op="ConvTranspose", output_shape=[0, 0]), ANY),
    Case("D9", "resize-scale-0", const("Resize", x(1, 1, 8, 8), "", fl(1.0, 1.0, 0.0, 1.0))),
    Case("D9", "resize-scale-nan", const("Resize", x(1, 1, 8, 8), "", fl(1.0, 1.0, NAN, 1.0))),
    Case("D9", "resize-scale-inf", const("Resize", x(1, 1, 8, 8), "", fl(1.0, 1.0, INF, 1.0))),
    Case("D9", "resize-scale-1e30", const("Resize", x(1, 1, 8, 8), "", fl(1.0, 1.0, 1e30, 1.0))),
    Case("D9", "resize-scale-negative", const("Resize", x(1, 1, 8, 8), "", fl(1.0, 1.0, -2.0, 1.0))),
    Case("D9", "resize-size-0", const("Resize", x(1, 1, 8, 8), "", "", i64(1, 1, 0, 4)), ANY),
    Case("D9", "resize-size-negative", const("Resize", x(1, 1, 8, 8), "", "", i64(1, 1, -4, 4))),
    Case("D9", "resize-scales-of-two", const("Resize", x(1, 1, 8, 8), "", fl(2.0, 2.0))),
    Case("D9", "resize-of-nothing", const("Resize", x(1, 1, 0, 8), "", "", i64(1, 1, 4, 4)), ANY),
    Case("D10", "reshape-two-unknown", const("Reshape", x(4), i64(-1, -1))),
    Case("D10", "reshape-zero-past-rank", const("Reshape", x(4), i64(4, 0))),
    Case("D10", "reshape-minus-2", const("Reshape", x(4), i64(-2, 2))),
    Case("D10", "reshape-other-size", const("Reshape", x(4), i64(5))),
    Case("D10", "reshape-indivisible", const("Reshape", x(4), i64(3, -1))),
    Case("D10", "reshape-unknown-beside-0", const("Reshape", x(0, 4), i64(0, -1)), ANY),
    Case("D10", "reshape-overflow", const("Reshape", x(4), i64(1 << 32, 1 << 32))),
    Case("D10", "reshape-float-shape", const("Reshape", x(4), fl(4.0))),
    Case("D10", "reshape-shape-rank-2", const("Reshape", x(4), w.ints("s", [4], dims=[1, 1])), ANY),
    Case("D11", "split-negative", w.one("Split", [x(4), i64(5, -1)], outputs=2)),
    Case("D11", "split-sum", w.one("Split", [x(4), i64(1, 1)], outputs=2)),
    Case("D11", "split-overflow", w.one("Split", [x(4), i64(MAX, MAX)], outputs=2)),
    Case("D11", "split-count", w.one("Split", [x(4), i64(2, 2)], outputs=3)),
    Case("D11", "split-num-outputs-2-40", w.one("Split", [x(4)], outputs=2, version=18, num_outputs=1 << 40)),
    Case("D12", "topk-negative", w.one("TopK", [x(4), i64(-1)], outputs=2)),
    Case("D12", "topk-beyond", w.one("TopK", [x(4), i64(5)], outputs=2)),
    Case("D12", "topk-2-62", w.one("TopK", [x(4), i64(1 << 62)], outputs=2)),
    Case("D12", "topk-axis", w.one("TopK", [x(4), i64(1)], outputs=2, axis=7)),
    Case("D13", "gather-beyond", const("Gather", fl(1.0, 2.0), i64(2))),
    Case("D13", "gather-far-below", const("Gather", fl(1.0, 2.0), i64(-3))),
    Case("D13", "gather-min", const("Gather", x(4), i64(MIN))),
    Case("D13", "gather-at-run-time", const("Gather", w.floats("k", [4]), ("x", w.INT64, [2])), ANY, feed={"x": arr([0, 99], "<i8")}),
    Case("D13", "gather-elements-beyond", const("GatherElements", x(4), i64(9))),
    Case("D13", "gather-nd-beyond", const("GatherND", x(4, 4), w.ints("i", [3, 9], dims=[1, 2]))),
    Case("D13", "gather-nd-batch-dims", const("GatherND", x(4, 4), w.ints("i", [0, 0], dims=[1, 2]), batch_dims=9)),
    Case("D13", "gather-nd-last-dim", const("GatherND", x(4, 4), w.ints("i", [0] * 5, dims=[1, 5]))),
    Case("D13", "scatter-nd-beyond", const("ScatterND", x(4), w.ints("i", [9], dims=[1, 1]), fl(1.0))),
    Case("D13", "scatter-nd-updates-shape", const("ScatterND", x(4), w.ints("i", [1], dims=[1, 1]), fl(1.0, 2.0, 3.0))),
    Case("D13", "scatter-elements-beyond", const("ScatterElements", x(4), i64(-9), fl(1.0))),
    Case("D14", "softmax-axis-beyond", const("Softmax", x(4, 4), axis=2)),
    Case("D14", "softmax-axis-below", const("Softmax", x(4, 4), axis=-3)),
    Case("D14", "concat-axis-min", w.one("Concat", [x(4)], axis=MIN)),
    Case("D14", "concat-shapes-differ", w.one("Concat", [("a", w.FLOAT, [2, 3]), ("b", w.FLOAT, [2, 4])], axis=0)),
    Case("D14", "concat-ranks-differ", w.one("Concat", [("a", w.FLOAT, [2, 3]), ("b", w.FLOAT, [2])], axis=0)),
    Case("D14", "transpose-perm-twice", const("Transpose", x(2, 3), perm=[0, 0])),
    Case("D14", "transpose-perm-beyond", const("Transpose", x(2, 3), perm=[0, 5])),
    Case("D14", "transpose-perm-short", const("Transpose", x(2, 3), perm=[0])),
    Case("D14", "squeeze-axis-of-3", const("Squeeze", x(3, 1), i64(0))),
    Case("D14", "squeeze-axes-twice", const("Squeeze", x(1, 3), i64(0, 0)), ANY),
    Case("D14", "unsqueeze-axes-twice", const("Unsqueeze", x(3), i64(0, 0))),
    Case("D14", "reduce-axes-twice", const("ReduceMean", x(3, 3), axes=[0, 0]), ANY),
    Case("D14", "flatten-axis-9", const("Flatten", x(3, 3), axis=9)),
    Case("D15", "slice-step-0", const("Slice", x(4), i64(0, name="s"), i64(4, name="e"), i64(0, name="a"), i64(0, name="t"))),
    Case("D15", "slice-step-min", const("Slice", x(4), i64(MAX, name="s"), i64(MIN, name="e"), i64(0, name="a"), i64(MIN, name="t")), ANY),
    Case("D15", "slice-everything", const("Slice", x(4), i64(MIN, name="s"), i64(MAX, name="e"), i64(0, name="a")), ANY),
    Case("D15", "slice-axis-beyond", const("Slice", x(4), i64(0, name="s"), i64(4, name="e"), i64(3, name="a"))),
    Case("D15", "slice-axes-twice", const("Slice", x(4, 4), i64(0, 1, name="s"), i64(4, 3, name="e"), i64(0, 0, name="a")), ANY),
    Case("D15", "slice-lengths-differ", const("Slice", x(4, 4), i64(0, 1, name="s"), i64(4, name="e"))),
    Case("D16", "einsum-empty", einsum("", (2, 2))),
    Case("D16", "einsum-no-arrow", einsum("ij", (2, 2)), ANY),
    Case("D16", "einsum-open", einsum("ij->k", (2, 2))),
    Case("D16", "einsum-digits", einsum("1j->j", (2, 2))),
    Case("D16", "einsum-arrows", einsum("i->->i", (2,))),
    Case("D16", "einsum-rank", einsum("ijk->i", (2, 2))),
    Case("D16", "einsum-operands", einsum("ij,jk->ik", (2, 2))),
    Case("D16", "einsum-dims-differ", einsum("ij,jk->ik", (2, 3), (4, 2))),
    Case("D16", "einsum-of-1MB", einsum("i" * 10 ** 6 + "->i", (2, 2))),
    Case("D16", "einsum-scalar", einsum(",i->i", (), (2,)), ANY),
    Case("D16", "einsum-52-letters", einsum("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ->a", (2,) * 52), BAD),
    Case("D17", "nms-nan-boxes", w.one("NonMaxSuppression", [w.tensor("b", w.FLOAT, [1, 3, 4], [NAN] * 12), w.tensor("s", w.FLOAT, [1, 1, 3], [NAN, 1.0, INF]), i64(3)], kind=w.INT64), ANY),
    Case("D17", "nms-shapes", w.one("NonMaxSuppression", [w.floats("b", [1, 3, 5]), w.floats("s", [1, 1, 4]), i64(3)], kind=w.INT64)),
    Case("D17", "nms-max-2-62", w.one("NonMaxSuppression", [w.floats("b", [1, 3, 4]), w.floats("s", [1, 1, 3]), i64(1 << 62)], kind=w.INT64), ANY),
    Case("D17", "nonzero-nan", const("NonZero", fl(NAN, 0.0, -0.0), kind=w.INT64), ANY),
    Case("D18", "symbol-with-two-values", symbolic_clash(), ANY, feed={"a": arr([1.0] * 3), "b": arr([1.0] * 5)}),
    Case("D18", "input-of-another-rank", declared(["n"]), ANY, feed={"x": arr([1.0] * 4, dims=[2, 2])}),
    Case("D18", "input-of-another-type", declared(["n"]), ANY, feed={"x": arr([1, 2], "<i8")}),
    Case("D18", "input-missing", declared(["n"]), ANY, feed={}),
    Case("D18", "input-unknown", declared(["n"]), ANY, feed={"x": arr([1.0]), "nobody": arr([1.0])}),
    Case("D18", "input-of-size-0", declared(["n"]), ANY, feed={"x": arr([])}),
]
