"""Writes the ONNX fuzzer's seeds, small models that between them have every kind of message, into corpus/onnx_reader.

    python tests/fuzz/make_onnx_seeds.py
"""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "hostile"))
import wire as w  # noqa: E402

X, Y = [w.value("x", w.FLOAT, ["N", 4])], [w.value("y", w.FLOAT, ["N", 4])]


def line(*nodes, inits=(), version=21, inputs=(), **more):
    return w.model(w.graph(list(nodes), X + list(inputs), Y, list(inits)), version, **more)


def body(op, taken, made):
    return w.graph([w.node(op, taken, [made])], [], [w.blob(1, made)])


def bodies():
    cond = [w.value("c", w.BOOL, [])]
    yield "if", line(w.node("Neg", ["x"], ["a"]), w.node("If", ["c"], ["y"], then_branch=body("Add", ["x", "a"], "t"),
                                                         else_branch=body("Relu", ["a"], "e")), inputs=cond)
    step = w.graph([w.node("Add", ["s", "x"], ["t"]), w.node("Identity", ["go"], ["go_on"])],
                   [w.value("i", w.INT64, []), w.value("go", w.BOOL, []), w.value("s", w.FLOAT, [4])],
                   [w.blob(1, "go_on"), w.blob(1, "t")])
    yield "loop", line(w.node("Loop", ["n", "", "x"], ["y"], body=step), inits=[w.ints("n", [3], dims=[])])
    scan = w.graph([w.node("Add", ["s", "v"], ["t"])], [w.value("s", w.FLOAT, [4]), w.value("v", w.FLOAT, [4])],
                   [w.blob(1, "t")])
    yield "scan", line(w.node("Scan", ["k", "x"], ["y"], body=scan, num_scan_inputs=1), inits=[w.floats("k", [4])])
    yield "scan8", line(w.node("Scan", ["", "x", "x"], ["y"], body=scan, num_scan_inputs=1), version=8)


def tensors():
    # Bytes of two elements, by the types' numbers.
    sizes = {1: 8, 2: 2, 3: 2, 4: 4, 5: 4, 6: 8, 7: 16, 9: 2, 10: 4, 11: 16, 12: 8, 13: 16, 14: 16, 15: 32, 16: 4, 17: 2,
             18: 2, 19: 2, 20: 2, 21: 1, 22: 1, 23: 1, 24: 2, 25: 1, 26: 1}
    for kind, size in sizes.items():
        yield f"type{kind}", line(w.node("Identity", ["k"], ["y"]), inits=[w.tensor("k", kind, [2], raw=b"\1" * size)])
    yield "strings", line(w.node("Identity", ["k"], ["y"]), inits=[w.tensor("k", w.STRING, [2], [b"a", b"bc"])])
    typed = w.tensor("k", w.FLOAT, [4], extra=w.blob(4, b"\0\0\x80\x3f" * 4))
    yield "typed", line(w.node("Add", ["x", "k"], ["y"]), inits=[typed])
    sparse = w.blob(1, w.floats("s", [2])) + w.blob(2, w.ints("", [1, 3])) + w.num(3, 4)
    yield "sparse", w.model(w.graph([w.node("Add", ["x", "s"], ["y"])], X, Y, sparse=[sparse]), 21)
    outside = w.tensor("k", w.FLOAT, [4], external=[("location", "w.bin"), ("offset", "8"), ("length", "16")])
    yield "external", line(w.node("Add", ["x", "k"], ["y"]), inits=[outside])


def versions():
    old = [("Softmax", 9, {"axis": 0}), ("Clip", 6, {"min": 0.0, "max": 6.0}), ("Dropout", 10, {"ratio": 0.5}),
           ("Squeeze", 11, {"axes": [0]}), ("Unsqueeze", 11, {"axes": [0]}), ("ReduceMean", 11, {"axes": [1]}),
           ("Slice", 9, {"starts": [0], "ends": [2], "axes": [1]}), ("Pad", 2, {"pads": [0, 1, 0, 1], "value": 1.5}),
           ("Upsample", 7, {"scales": [1.0, 2.0]}), ("Cast", 1, {"to": "INT64"}), ("TopK", 9, {"k": 2}),
           ("Reshape", 1, {"shape": [4, -1]}), ("Selu", 1, {}), ("Split", 11, {"split": [4], "axis": 1})]
    for op, version, attrs in old:
        yield f"{op.lower()}{version}", line(w.node(op, ["x"], ["y"], **attrs), version=version)
    k = w.floats("k", [4])
    yield "add6", line(w.node("Add", ["x", "k"], ["y"], broadcast=1, axis=1), inits=[k], version=6)
    yield "upsample9", line(w.node("Upsample", ["x", "k"], ["y"]), inits=[w.floats("k", [2], 2.0)], version=9)
    yield "resize11", line(w.node("Resize", ["x", "", "k"], ["y"]), inits=[w.floats("k", [2], 2.0)], version=11)
    yield "norm9", line(w.node("BatchNormalization", ["x", "k", "k", "k", "k"], ["y"]), inits=[k], version=9)
    yield "group18", line(w.node("GroupNormalization", ["x", "k", "k"], ["y"], num_groups=4), inits=[k], version=18)


def others():
    inner = w.function("G", ["a"], ["b"], [w.node("LeakyRelu", ["a"], ["b"], attributes=[
        w.blob(1, "alpha") + w.blob(21, "slope") + w.num(20, 1)])]) + w.blob(6, "slope")
    outer = w.function("F", ["a", "z"], ["c"], [w.node("G", ["a"], ["b"], "f", slope=0.5), w.node("Clip", ["b", "z"], ["c"])])
    yield "functions", line(w.node("F", ["x"], ["y"], "f"), functions=[inner, outer])
    yield "metadata", line(w.node("Relu", ["x"], ["y"]), extra=w.blob(2, "p") + w.blob(14, w.blob(1, "k") + w.blob(2, "v")))
    yield "unsorted", line(w.node("Neg", ["t"], ["y"]), w.node("Relu", ["x"], ["t"]))
    yield "domain", line(w.node("Gelu", ["x"], ["y"], "com.microsoft"), opsets=[("", 17), ("com.microsoft", 1)])


def main():
    folder = HERE / "corpus" / "onnx_reader"
    folder.mkdir(parents=True, exist_ok=True)
    for source in (bodies, tensors, versions, others):
        for name, data in source():
            (folder / f"{name}.onnx").write_bytes(data)


if __name__ == "__main__":
    main()
