"""ONNX files from Python's standard library alone: a writer of the protobuf wire format and the messages of onnx.proto.

It writes whatever it is told, valid or not: that is what it is for.
"""
import struct

FLOAT, UINT8, INT8, UINT16, INT16, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
UINT32, UINT64, BFLOAT16 = 12, 13, 16


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def key(number, wire):
    return varint(number << 3 | wire)


def num(number, value):
    return key(number, 0) + varint(value)


def blob(number, payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return key(number, 2) + varint(len(payload)) + payload


def f32(number, value):
    return key(number, 5) + struct.pack("<f", value)


class Graph(bytes):
    """Marks bytes as a GraphProto where an attribute's kind is guessed."""


class Tensor(bytes):
    """Marks bytes as a TensorProto."""


def shape(dims):
    return b"".join(blob(1, blob(2, d) if isinstance(d, str) else num(1, d)) for d in dims)


def value(name, kind=FLOAT, dims=None):
    """ValueInfoProto; dims None: no shape."""
    return blob(1, name) + blob(2, blob(1, num(1, kind) + (b"" if dims is None else blob(2, shape(dims)))))


PACK = {FLOAT: "f", UINT8: "B", INT8: "b", UINT16: "H", INT16: "h", INT32: "i", INT64: "q", BOOL: "B", FLOAT16: "e",
        DOUBLE: "d", UINT32: "I", UINT64: "Q", BFLOAT16: "H"}


def tensor(name, kind, dims, values=None, raw=None, extra=b"", external=None):
    """TensorProto: `values` are packed into raw_data, or go to string_data; `raw` as it is; `external` a list of pairs."""
    out = b"".join(num(1, d) for d in dims) + num(2, kind) + blob(8, name)
    if kind == STRING and values is not None:
        out += b"".join(blob(6, v) for v in values)
    elif values is not None:
        raw = struct.pack(f"<{len(values)}{PACK[kind]}", *values)
    if raw is not None:
        out += blob(9, raw)
    if external is not None:
        out += b"".join(blob(13, blob(1, k) + blob(2, v)) for k, v in external) + num(14, 1)
    return Tensor(out + extra)


def floats(name, dims, fill=0.5):
    count = 1
    for d in dims:
        count *= d
    return tensor(name, FLOAT, dims, [fill] * count)


def ints(name, values, kind=INT64, dims=None):
    return tensor(name, kind, [len(values)] if dims is None else dims, values)


def attr(name, v):
    out = blob(1, name)
    if isinstance(v, Graph):
        return out + blob(6, v) + num(20, 5)
    if isinstance(v, Tensor):
        return out + blob(5, v) + num(20, 4)
    if isinstance(v, (bytes, str)):
        return out + blob(4, v) + num(20, 3)
    if isinstance(v, float):
        return out + f32(2, v) + num(20, 1)
    if isinstance(v, int):
        return out + num(3, v) + num(20, 2)
    if v and isinstance(v[0], float):
        return out + b"".join(f32(7, x) for x in v) + num(20, 6)
    if v and isinstance(v[0], str):
        return out + b"".join(blob(9, x) for x in v) + num(20, 8)
    return out + b"".join(num(8, x) for x in v) + num(20, 7)


def node(op, inputs, outputs, domain="", name="", attributes=(), **attrs):
    """NodeProto. `attrs` by Python type; `attributes`: ready-made AttributeProtos."""
    out = b"".join(blob(1, i) for i in inputs) + b"".join(blob(2, o) for o in outputs) + blob(4, op)
    out += (blob(7, domain) if domain else b"") + (blob(3, name) if name else b"")
    return out + b"".join(blob(5, attr(k, v)) for k, v in attrs.items()) + b"".join(blob(5, a) for a in attributes)


def graph(nodes, inputs=(), outputs=(), inits=(), sparse=(), infos=(), name="g"):
    out = b"".join(blob(1, n) for n in nodes) + blob(2, name) + b"".join(blob(5, t) for t in inits)
    out += b"".join(blob(15, s) for s in sparse) + b"".join(blob(11, i) for i in inputs)
    return Graph(out + b"".join(blob(12, o) for o in outputs) + b"".join(blob(13, i) for i in infos))


def opset(version, domain=""):
    return blob(8, (blob(1, domain) if domain else b"") + num(2, version))


def model(g, version=17, opsets=None, functions=(), extra=b"", ir=8):
    out = num(1, ir) + (b"" if g is None else blob(7, g))
    out += opset(version) if opsets is None else b"".join(opset(v, d) for d, v in opsets)
    return out + b"".join(blob(25, f) for f in functions) + extra


def function(name, inputs, outputs, nodes, domain="f", version=17):
    out = blob(1, name) + b"".join(blob(4, i) for i in inputs) + b"".join(blob(5, o) for o in outputs)
    return out + b"".join(blob(7, n) for n in nodes) + blob(9, num(2, version)) + blob(9, blob(1, domain) + num(2, 1)) + blob(10, domain)


def one(op, inputs, version=17, outputs=1, kind=FLOAT, dims=None, domain="", opsets=None, **attrs):
    """A model of one node. Inputs: a TensorProto (initialiser), a (name, kind, dims) graph input, or "" (absent)."""
    inits, ins, names = [], [], []
    for i, item in enumerate(inputs):
        if isinstance(item, Tensor):
            inits.append(item)
            names.append(tensor_name(item))
        elif item == "":
            names.append("")
        else:
            ins.append(value(*item))
            names.append(item[0])
    outs = [f"y{i}" for i in range(outputs)]
    n = node(op, names, outs, domain=domain, **attrs)
    return model(graph([n], ins, [value(o, kind, dims) for o in outs], inits), version, opsets)


def tensor_name(t):
    """The name of a TensorProto that tensor() made (field 8, after dims and type)."""
    at = 0
    while at < len(t):
        k = t[at]
        at += 1
        if k == key(8, 2)[0]:
            return t[at + 1:at + 1 + t[at]].decode()
        while t[at] > 127:
            at += 1
        at += 1
    raise ValueError("no name")
