"""V: values, quantisation, attributes."""
import wire as w
from corpus import ANY, OK, Case
from dimensions import INF, MAX, MIN, NAN, const, fl, i64, x


def quantize(scale, zero=None, kind=w.UINT8, op="QuantizeLinear", dims=(4,), **attrs):
    source = x(*dims) if op == "QuantizeLinear" else ("x", kind, list(dims))
    return w.one(op, [source, scale] + ([] if zero is None else [zero]), kind=kind if op == "QuantizeLinear" else w.FLOAT, **attrs)


def scale(*values):
    return w.tensor("s", w.FLOAT, [] if len(values) == 1 else [len(values)], values)


def zero(*values, kind=w.UINT8):
    return w.tensor("z", kind, [] if len(values) == 1 else [len(values)], values)


def qlinear(**change):
    parts = {"x": ("x", w.UINT8, [1, 2, 4, 4]), "xs": scale_named("xs", 0.1), "xz": w.tensor("xz", w.UINT8, [], [3]),
             "w": w.tensor("w", w.INT8, [3, 2, 1, 1], [1] * 6), "ws": scale_named("ws", 0.1), "wz": w.tensor("wz", w.INT8, [], [0]),
             "ys": scale_named("ys", 0.1), "yz": w.tensor("yz", w.UINT8, [], [3]), "b": w.tensor("b", w.INT32, [3], [1, 2, 3])}
    return w.one("QLinearConv", list({**parts, **change}.values()), kind=w.UINT8)


def scale_named(name, *values):
    return w.tensor(name, w.FLOAT, [] if len(values) == 1 else [len(values)], values)


def integers(op, a, b, kind=w.INT64, **attrs):
    return w.one(op, [w.tensor("a", kind, [1], [a]), w.tensor("b", kind, [1], [b])], kind=kind, **attrs)


def cast(value, to, kind=w.FLOAT):
    return w.one("Cast", [w.tensor("a", kind, [1], [value])], kind=to, to=to)


def attributes(*made, op="LeakyRelu", inputs=None):
    g = w.graph([w.node(op, ["x"], ["y"], attributes=made)], [w.value("x", w.FLOAT, [4])], [w.value("y")])
    return w.model(g)


def norm(epsilon, variance=1.0):
    return w.one("BatchNormalization", [x(1, 2, 3), w.floats("a", [2]), w.floats("b", [2]), w.floats("m", [2]),
                                        w.tensor("v", w.FLOAT, [2], [variance] * 2)], epsilon=epsilon)


CASES = [
    *[Case("V1", f"scale-{v}", quantize(scale(v), zero(0)), ANY) for v in (0.0, NAN, INF, -1.0, 1e-45)],
    *[Case("V1", f"dequantize-scale-{v}", quantize(scale(v), zero(0), op="DequantizeLinear"), ANY) for v in (0.0, NAN, INF, -1.0)],
    Case("V2", "zero-point-type", quantize(scale(0.1), zero(0, kind=w.INT8), op="DequantizeLinear")),
    Case("V2", "zero-point-float", quantize(scale(0.1), w.floats("z", []))),
    Case("V2", "zero-point-shape", quantize(scale(0.1), zero(1, 2, 3))),
    Case("V2", "int32-with-zero-point", quantize(scale(0.1), zero(5, kind=w.INT32), w.INT32, "DequantizeLinear"), ANY),
    Case("V3", "per-axis-length", quantize(scale(0.1, 0.2, 0.3), dims=(2, 4), axis=1)),
    Case("V3", "per-axis-axis", quantize(scale(0.1, 0.2), dims=(2, 4), axis=5)),
    Case("V3", "qlinear-conv-scales", qlinear(ws=scale_named("ws", 0.1, 0.1))),
    Case("V3", "qlinear-conv-zero-points", qlinear(wz=w.tensor("wz", w.INT8, [2], [0, 0]))),
    Case("V3", "qlinear-conv-bias-type", qlinear(b=w.floats("b", [3]))),
    Case("V3", "qlinear-conv-bias-length", qlinear(b=w.tensor("b", w.INT32, [7], [0] * 7))),
    Case("V3", "qlinear-conv-bias-shorter", qlinear(b=w.tensor("b", w.INT32, [1], [1]))),
    Case("V3", "qlinear-conv-weight-type", qlinear(w=w.floats("w", [3, 2, 1, 1]))),
    Case("V3", "qlinear-conv-scale-0", qlinear(ys=scale_named("ys", 0.0)), ANY),
    Case("V3", "block-size-0", w.one("QuantizeLinear", [x(4, 4), w.floats("s", [4, 2])], version=21, kind=w.UINT8, axis=1, block_size=-3)),
    Case("V4", "div-by-0", integers("Div", 5, 0), ANY),
    Case("V4", "div-min-by-minus-1", integers("Div", MIN, -1), ANY),
    Case("V4", "div-int32-min-by-minus-1", integers("Div", -(1 << 31), -1, w.INT32), ANY),
    Case("V4", "mod-0", integers("Mod", 5, 0), ANY),
    Case("V4", "mod-min-minus-1", integers("Mod", MIN, -1), ANY),
    Case("V4", "fmod-0", integers("Mod", 5, 0, fmod=1), ANY),
    Case("V4", "mul-overflow", integers("Mul", MAX, MAX), ANY),
    Case("V4", "neg-min", w.one("Neg", [w.ints("a", [MIN])], kind=w.INT64), ANY),
    Case("V4", "abs-min", w.one("Abs", [w.ints("a", [MIN])], kind=w.INT64), ANY),
    Case("V4", "pow-of-integers", integers("Pow", 3, -2), ANY),
    Case("V4", "div-by-0-in-a-shape", w.model(w.graph([w.node("Shape", ["x"], ["s"]), w.node("Div", ["s", "z"], ["d"]), w.node("Reshape", ["x", "d"], ["y"])],
                                                      [w.value("x", w.FLOAT, [4])], [w.value("y")], [w.ints("z", [0])])), ANY),
    *[Case("V5", f"cast-{v}-to-{t}", cast(v, t), ANY) for v in (NAN, INF, -INF, 3e38) for t in (w.INT8, w.INT32, w.INT64, w.UINT8, w.BOOL)],
    Case("V5", "cast-to-99", w.one("Cast", [x(4)], to=99)),
    Case("V5", "cast-to-0", w.one("Cast", [x(4)], to=0)),
    Case("V5", "cast-without-to", w.one("Cast", [x(4)])),
    Case("V5", "cast-text-to-float", w.one("Cast", [w.tensor("a", w.STRING, [1], [b"not a number"])], to=w.FLOAT), ANY),
    Case("V5", "cast-text-of-1MB", w.one("Cast", [w.tensor("a", w.STRING, [1], [b"9" * 10 ** 6])], to=w.FLOAT), ANY),
    Case("V6", "denormals", w.one("Mul", [fl(1e-45, 1e-40, name="a"), fl(0.5, 0.5, name="b")]), OK),
    Case("V7", "softmax-of-inf", w.one("Softmax", [fl(INF, INF, 1.0)]), ANY),
    Case("V7", "softmax-fp16-large", w.one("Softmax", [w.tensor("a", w.FLOAT16, [3], [65504.0, 65504.0, -65504.0])], kind=w.FLOAT16), ANY),
    Case("V7", "layer-norm-fp16-large", w.one("LayerNormalization", [w.tensor("a", w.FLOAT16, [2, 2], [65504.0, -65504.0, 60000.0, 1.0]), w.tensor("s", w.FLOAT16, [2], [1.0, 1.0])], kind=w.FLOAT16), ANY),
    *[Case("V8", f"epsilon-{e}", norm(e), ANY) for e in (0.0, -1.0, NAN, INF)],
    Case("V8", "variance-negative", norm(1e-5, -1.0), ANY),
    Case("V8", "norm-parameters-shorter", w.one("BatchNormalization", [x(1, 64, 3), *[w.floats(p, [1]) for p in "abmv"]])),
    Case("V8", "layer-norm-scale-shorter", w.one("LayerNormalization", [x(4, 64), w.floats("s", [3]), w.floats("b", [3])])),
    Case("V8", "instance-norm-scale-shorter", w.one("InstanceNormalization", [x(1, 64, 4), w.floats("s", [3]), w.floats("b", [3])])),
    Case("V8", "prelu-slope-shorter", w.one("PRelu", [x(1, 64, 4, 4), w.floats("s", [3, 1, 1])])),
    Case("V8", "norm-parameter-lengths", w.one("BatchNormalization", [x(1, 2, 3), w.floats("a", [2]), w.floats("b", [3]), w.floats("m", [2]), w.floats("v", [2])])),
    Case("V9", "shift-64", integers("BitShift", 1, 64, w.UINT64, direction="LEFT"), ANY),
    Case("V9", "shift-max", integers("BitShift", 1, (1 << 64) - 1, w.UINT64, direction="RIGHT"), ANY),
    Case("V9", "shift-8-of-uint8", integers("BitShift", 1, 8, w.UINT8, direction="LEFT"), ANY),
    Case("V9", "shift-nowhere", integers("BitShift", 1, 1, w.UINT64, direction="UP")),
    Case("V10", "float-as-int", attributes(w.attr("alpha", 1)), ANY),
    Case("V10", "int-as-float", w.one("Softmax", [x(4, 4)], axis=1.0), ANY),
    Case("V10", "ints-as-int", w.one("Transpose", [x(4, 4)], perm=1)),
    Case("V10", "int-as-string", w.one("Softmax", [x(4, 4)], axis="1")),
    Case("V10", "tensor-as-int", w.one("ConstantOfShape", [i64(2)], value=3)),
    Case("V10", "graph-as-int", w.model(w.graph([w.node("If", ["c"], ["y"], then_branch=1, else_branch=2)], [], [w.value("y")], [w.tensor("c", w.BOOL, [], [1])]))),
    Case("V11", "attribute-twice", attributes(w.attr("alpha", 0.1), w.attr("alpha", 0.2)), ANY),
    Case("V11", "attribute-unknown", attributes(w.attr("beta", 0.1)), ANY),
    Case("V11", "attribute-without-name", attributes(w.f32(2, 0.1) + w.num(20, 1)), ANY),
    Case("V11", "attribute-type-lies", attributes(w.blob(1, "alpha") + w.f32(2, 0.1) + w.num(20, 7)), ANY),
    Case("V11", "attribute-type-99", attributes(w.blob(1, "alpha") + w.f32(2, 0.1) + w.num(20, 99)), ANY),
    Case("V11", "attribute-without-type", attributes(w.blob(1, "alpha") + w.f32(2, 0.1)), ANY),
    Case("V11", "attribute-without-value", attributes(w.blob(1, "alpha") + w.num(20, 1)), ANY),
    Case("V11", "attribute-refers-outside-a-function", attributes(w.blob(1, "alpha") + w.blob(21, "other") + w.num(20, 1)), ANY),
    Case("V11", "constant-without-value", w.one("Constant", [])),
    Case("V11", "constant-with-two-values", w.one("Constant", [], value_float=1.0, value_int=2), ANY),
    Case("V11", "constant-tensor-broken", w.one("Constant", [], value=w.tensor("v", w.FLOAT, [9], raw=b"\0"))),
    Case("V11", "conv-attribute-missing", w.one("MaxPool", [x(1, 1, 4, 4)])),
    Case("V11", "lstm-direction", w.one("LSTM", [x(3, 1, 2), w.floats("w", [1, 8, 2]), w.floats("r", [1, 8, 2])], hidden_size=2, direction="sideways")),
    Case("V11", "lstm-hidden-lies", w.one("LSTM", [x(3, 1, 2), w.floats("w", [1, 8, 2]), w.floats("r", [1, 8, 2])], hidden_size=200)),
    Case("V11", "lstm-activation", w.one("LSTM", [x(3, 1, 2), w.floats("w", [1, 8, 2]), w.floats("r", [1, 8, 2])], hidden_size=2, activations=["A", "B", "C"])),
    Case("V11", "gemm-shapes", w.one("Gemm", [x(2, 3), w.floats("b", [4, 5])])),
    Case("V11", "matmul-shapes", w.one("MatMul", [x(2, 3), w.floats("b", [4, 5])])),
    Case("V11", "add-shapes", w.one("Add", [x(2, 3), w.floats("b", [4])])),
    Case("V11", "trees-nodes-lie", w.one("TreeEnsembleRegressor", [x(1, 4)], domain="ai.onnx.ml", opsets=[("", 17), ("ai.onnx.ml", 1)], n_targets=1,
                                         nodes_treeids=[0, 0], nodes_nodeids=[0, 1], nodes_featureids=[0, 99], nodes_values=[0.5, 0.5],
                                         nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ"], nodes_truenodeids=[1, 0], nodes_falsenodeids=[7, 0],
                                         target_treeids=[0], target_nodeids=[9], target_ids=[3], target_weights=[1.0])),
]
