"""T: the container. Sizes that lie, types that do not exist, wire types that do not fit, names that are no text."""
import struct

import wire as w
from corpus import ANY, OK, Case

ADD = w.node("Add", ["x", "k"], ["y"])
IN, OUT = [w.value("x", w.FLOAT, [2])], [w.value("y", w.FLOAT, [2])]


def add(init, **options):
    return w.model(w.graph([ADD], IN, OUT, [init]), **options)


def t(**options):
    return w.tensor("k", w.FLOAT, [2], **options)


GOOD = t(values=[1.0, 2.0])


def sized_file(folder, size=(2 << 30) + 4096):
    """A file of holes: 2 GiB of zeros that take no space."""
    path = folder / "model.onnx"
    with open(path, "wb") as f:
        f.write(add(GOOD))
        f.truncate(size)
    return path


def many_strings():
    return w.one("Identity", [w.tensor("k", w.STRING, [10 ** 6], [b""] * 10 ** 6)], kind=w.STRING)


def claims(size):
    """A graph whose length field says more than there is."""
    return w.num(1, 8) + w.key(7, 2) + w.varint(size) + w.graph([ADD], IN, OUT, [GOOD])


def field(number, wire, payload):
    return w.model(w.graph([ADD], IN, OUT, [GOOD])) + w.key(number, wire) + payload


CASES = [
    Case("T3", "raw-short", add(t(raw=b"\0" * 7))),
    Case("T3", "raw-long", add(t(raw=b"\0" * 9))),
    Case("T3", "raw-empty", add(t(raw=b""))),
    Case("T3", "raw-missing", add(t())),
    Case("T3", "float-data-short", add(t(extra=w.f32(4, 1.0)))),
    Case("T3", "packed-float-data-odd", add(t(extra=w.blob(4, b"\0" * 7)))),
    Case("T3", "huge-dims-no-data", add(w.tensor("k", w.FLOAT, [1 << 40]))),
    Case("T3", "huge-dims-little-data", add(w.tensor("k", w.FLOAT, [1 << 40], raw=b"\0" * 8))),
    Case("T4", "raw-and-typed", add(t(values=[1.0, 2.0], extra=w.f32(4, 1.0) + w.f32(4, 2.0))), ANY),
    Case("T4", "typed-of-wrong-kind", add(t(extra=w.num(7, 1) + w.num(7, 2)))),
    Case("T4", "int32-data-out-of-range", w.one("Identity", [w.tensor("k", w.UINT8, [1], extra=w.num(5, 1000))], kind=w.UINT8), ANY),
    Case("T5", "type-0", add(w.tensor("k", 0, [2], raw=b"\0" * 8))),
    Case("T5", "type-99", add(w.tensor("k", 99, [2], raw=b"\0" * 8))),
    Case("T5", "type-minus-1", add(w.tensor("k", -1, [2], raw=b"\0" * 8))),
    Case("T5", "type-2-40", add(w.tensor("k", (1 << 40) + 1, [2], raw=b"\0" * 8)), ANY),
    Case("T5", "input-type-99", w.one("Relu", [("x", 99, [2])])),
    Case("T5", "input-type-missing", w.model(w.graph([w.node("Relu", ["x"], ["y"])], [w.blob(1, "x")], OUT)), ANY),
    Case("T6", "empty-file", b""),
    Case("T6", "no-graph", w.model(None)),
    Case("T6", "empty-graph", w.model(b""), ANY),
    Case("T6", "no-nodes", w.model(w.graph([], IN, [w.value("x", w.FLOAT, [2])])), ANY),
    Case("T6", "no-opset", w.model(w.graph([ADD], IN, OUT, [GOOD]), opsets=[]), ANY),
    Case("T6", "opset-0", add(GOOD, version=0)),
    Case("T6", "opset-minus-1", add(GOOD, version=-1)),
    Case("T6", "opset-2-31", add(GOOD, version=1 << 31)),
    Case("T6", "opset-2-63", add(GOOD, version=(1 << 63) - 1)),
    Case("T6", "opset-twice", add(GOOD, opsets=[("", 17), ("", 7)]), ANY),
    Case("T6", "opset-of-nobody", add(GOOD, opsets=[("", 17), ("no.such.domain", 3)]), ANY),
    Case("T6", "graph-twice", w.model(w.graph([ADD], IN, OUT, [GOOD])) + w.blob(7, w.graph([ADD], IN, OUT, [GOOD])), ANY),
    Case("T6", "text", b"this is not a model, it is a sentence\n" * 30),
    Case("T6", "zeros", b"\0" * 4096),
    Case("T6", "ones", b"\xff" * 4096),
    Case("T6", "gzip", b"\x1f\x8b\x08\0" + b"\0" * 200),
    Case("T6", "directory", lambda folder: folder),
    Case("T6", "missing-file", lambda folder: folder / "none.onnx"),
    Case("T7", "graph-claims-2GiB", claims(1 << 31)),
    Case("T7", "graph-claims-2-40", claims(1 << 40)),
    Case("T7", "graph-claims-2-63", claims((1 << 63) - 1)),
    Case("T7", "graph-claims-2-64", claims((1 << 64) - 1)),
    Case("T7", "sparse-file-2GiB", sized_file),
    Case("T8", "graph-as-varint", w.num(1, 8) + w.num(7, 5) + w.opset(17)),
    Case("T8", "graph-as-fixed64", w.num(1, 8) + w.key(7, 1) + b"\0" * 8 + w.opset(17)),
    Case("T8", "node-as-varint", w.model(w.num(1, 3) + w.blob(11, IN[0]) + w.blob(12, OUT[0]))),
    Case("T8", "name-as-varint", w.model(w.graph([w.num(1, 3) + w.blob(2, "y") + w.blob(4, "Relu")], IN, OUT))),
    Case("T8", "dims-as-fixed32", add(w.Tensor(w.key(1, 5) + struct.pack("<I", 2) + w.num(2, 1) + w.blob(8, "k") + w.blob(9, b"\0" * 8)))),
    Case("T8", "dims-packed", add(w.Tensor(w.blob(1, b"\2") + w.num(2, 1) + w.blob(8, "k") + w.blob(9, b"\0" * 8))), OK),
    Case("T8", "dims-packed-cut", add(w.Tensor(w.blob(1, b"\x82") + w.num(2, 1) + w.blob(8, "k") + w.blob(9, b"\0" * 8)))),
    Case("T8", "group-start", field(30, 3, b""), ANY),
    Case("T8", "group-end", field(30, 4, b""), ANY),
    Case("T8", "group-deep", field(30, 3, w.key(30, 3) * 100000), ANY),
    Case("T8", "wire-6", field(30, 6, b"")),
    Case("T8", "wire-7", field(30, 7, b"")),
    Case("T8", "varint-of-11-bytes", field(1, 0, b"\x80" * 10 + b"\1")),
    Case("T8", "varint-without-end", field(1, 0, b"\x80" * 9)),
    Case("T8", "field-0", field(0, 0, b"\1")),
    Case("T8", "field-2-29", field((1 << 29) - 1, 0, b"\1"), ANY),
    Case("T8", "unknown-fields", field(999, 2, b"\3abc"), OK),
    Case("T9", "names-not-utf8", w.model(w.graph([w.node("Relu", [b"\xff\xfe"], [b"\xc3\x28"])],
                                                 [w.value(b"\xff\xfe", w.FLOAT, [2])], [w.value(b"\xc3\x28", w.FLOAT, [2])])), ANY),
    Case("T9", "names-with-nul", w.model(w.graph([w.node("Relu", ["a\0b"], ["a"])], [w.value("a\0b", w.FLOAT, [2])], [w.value("a")])), ANY),
    Case("T9", "name-of-10MB", w.model(w.graph([w.node("Relu", ["x"], ["y" * 10 ** 7])], IN, [w.value("y" * 10 ** 7)])), ANY),
    Case("T9", "op-of-10MB", w.one("R" * 10 ** 7, [("x", w.FLOAT, [2])])),
    Case("T9", "op-not-utf8", w.model(w.graph([w.blob(1, "x") + w.blob(2, "y") + w.blob(4, b"\xff")], IN, OUT))),
    Case("T9", "op-empty", w.one("", [("x", w.FLOAT, [2])])),
    Case("T9", "terminal-escapes", w.one("\x1b[2J\x1b]0;x\x07", [("x", w.FLOAT, [2])])),
    Case("T10", "strings-10-6", lambda folder: many_strings(), ANY),
    Case("T10", "strings-fewer-than-dims", w.one("Identity", [w.tensor("k", w.STRING, [5], [b"a"])], kind=w.STRING)),
    Case("T10", "strings-10-9-declared", w.one("Identity", [w.tensor("k", w.STRING, [10 ** 9], [b"a"])], kind=w.STRING)),
    Case("T11", "string-added", add(w.tensor("k", w.STRING, [2], [b"a", b"b"]))),
    Case("T11", "string-weights", w.one("Conv", [("x", w.FLOAT, [1, 1, 4, 4]), w.tensor("w", w.STRING, [1, 1, 1, 1], [b"a"])])),
    Case("T11", "string-as-raw", add(w.tensor("k", w.STRING, [2], raw=b"\0" * 64))),
    Case("T11", "string-shape", w.one("Reshape", [("x", w.FLOAT, [2]), w.tensor("s", w.STRING, [1], [b"2"])])),
]
