"""Input shapes of an ONNX file, read and replaced on the wire: no package needed, the rest of the file stays as it is.

Some files declare input dims that they do not mean (1x3x32x32 for a network that takes any size); engines that insist on
the declared dims can be given the patched bytes.
"""
GRAPH, INITIALIZER, INPUT = 7, 5, 11          # ModelProto.graph, GraphProto.initializer, GraphProto.input
NAME, TYPE = 1, 2                             # ValueInfoProto
TENSOR_TYPE, ELEM_TYPE, SHAPE, DIM = 1, 1, 2, 1
DIM_VALUE, DIM_PARAM = 1, 2
TENSOR_NAME = 8                               # TensorProto.name


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, wire type, value, whole field as bytes) of a message."""
    at = 0
    while at < len(data):
        start = at
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            size = {1: 8, 5: 4}[key & 7]
            value, at = data[at:at + size], at + size
        yield key >> 3, key & 7, value, data[start:at]


def first(data, number, default=b""):
    return next((value for n, _, value, _ in fields(data) if n == number), default)


def encode_varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def encode(number, payload):
    return encode_varint(number << 3 | 2) + encode_varint(len(payload)) + payload


def inputs(model):
    """{name: (element type, [dim as int, or None where symbolic])} of the inputs that have no initialiser."""
    graph = first(model, GRAPH)
    held = {bytes(first(v, TENSOR_NAME)).decode() for n, _, v, _ in fields(graph) if n == INITIALIZER}
    out = {}
    for number, _, value, _ in fields(graph):
        name = bytes(first(value, NAME)).decode() if number == INPUT else None
        if name is not None and name not in held:
            tensor = first(first(value, TYPE), TENSOR_TYPE)
            dims = [first(d, DIM_VALUE, None) for n, _, d, _ in fields(first(tensor, SHAPE)) if n == DIM]
            out[name] = (first(tensor, ELEM_TYPE, 0), dims)
    return out


def replaced(data, number, change):
    """The message with `change` applied to each field of this number."""
    return b"".join(encode(n, change(value)) if n == number and wire == 2 else bytes(whole)
                    for n, wire, value, whole in fields(data))


def with_input_shapes(model, shapes):
    """The model with these dims ({name: dims}) wherever the declared ones are fixed and differ; otherwise as given."""
    declared = inputs(model)
    wrong = {name: dims for name, dims in shapes.items() if name in declared and len(declared[name][1]) == len(dims)
             and any(d is not None and d != want for d, want in zip(declared[name][1], dims))}
    if not wrong:
        return model

    def value_info(value):
        name = bytes(first(value, NAME)).decode()
        if name not in wrong:
            return bytes(value)
        shape = b"".join(encode(DIM, encode_varint(DIM_VALUE << 3) + encode_varint(d)) for d in wrong[name])
        return replaced(value, TYPE, lambda t: replaced(t, TENSOR_TYPE, lambda tt: replaced(tt, SHAPE, lambda _: shape)))

    return replaced(model, GRAPH, lambda graph: replaced(graph, INPUT, value_info))
