"""N: the graph's topology. Cycles, names that do not exist or exist twice, recursion, depth and length."""
import wire as w
from corpus import ANY, BAD, OK, Case

X = [w.value("x", w.FLOAT, [2])]
Y = [w.value("y", w.FLOAT, [2])]
YES = w.tensor("yes", w.BOOL, [], [1])


def g(*nodes, inputs=X, outputs=Y, inits=(), **options):
    return w.model(w.graph(nodes, inputs, outputs, inits), **options)


def n(op, ins, outs, **attrs):
    return w.node(op, ins.split(), outs.split(), **attrs)


def call(name):
    return w.node(name, ["a"], ["b"], domain="f")


def functions(*pairs):
    """Functions named by the first of each pair, calling the second."""
    return w.model(w.graph([w.node(pairs[0][0], ["x"], ["y"], domain="f")], X, Y), opsets=[("", 17), ("f", 1)],
                   functions=[w.function(name, ["a"], ["b"], [call(callee)]) for name, callee in pairs])


def doubling_functions(depth):
    """Each calls the next twice: 2^depth nodes once inlined."""
    made = [w.function(f"F{i}", ["a"], ["b"], [w.node(f"F{i + 1}", ["a"], ["m"], domain="f"),
                                              w.node(f"F{i + 1}", ["m"], ["b"], domain="f")]) for i in range(depth)]
    made.append(w.function(f"F{depth}", ["a"], ["b"], [w.node("Relu", ["a"], ["b"])]))
    return w.model(w.graph([w.node("F0", ["x"], ["y"], domain="f")], X, Y), opsets=[("", 17), ("f", 1)], functions=made)


def nested(op, depth):
    """Well-formed nesting of If, Loop or Scan."""
    body = None
    for level in range(depth):
        o = f"o{level}"
        if op == "If":
            inner = [w.node("Relu", ["x"], [o])] if body is None else [
                w.node("If", ["yes"], [o], then_branch=body, else_branch=w.graph([w.node("Relu", ["x"], ["e"])], [], [w.value("e")]))]
            body = w.graph(inner, [], [w.value(o)])
        elif op == "Loop":
            ins = [w.value(f"i{level}", w.INT64, []), w.value(f"c{level}", w.BOOL, []), w.value(f"v{level}", w.FLOAT, [2])]
            inner = [w.node("Relu", [f"v{level}"], [o])] if body is None else [
                w.node("Loop", ["two", "yes", f"v{level}"], [o], body=body)]
            body = w.graph([w.node("Identity", [f"c{level}"], [f"d{level}"]), *inner], ins, [w.value(f"d{level}", w.BOOL, []), w.value(o, w.FLOAT, [2])])
        else:
            inner = [w.node("Relu", [f"v{level}"], [o])] if body is None else [
                w.node("Scan", ["x", "list"], [f"s{level}", o], body=body, num_scan_inputs=1)]
            ins = [w.value(f"t{level}", w.FLOAT, [2]), w.value(f"v{level}", w.FLOAT, None)]
            body = w.graph([w.node("Identity", [f"t{level}"], [f"u{level}"]), *inner], ins, [w.value(f"u{level}", w.FLOAT, [2]), w.value(o)])
    top = {"If": lambda: w.node("If", ["yes"], ["y"], then_branch=body, else_branch=body),
           "Loop": lambda: w.node("Loop", ["two", "yes", "x"], ["y"], body=body),
           "Scan": lambda: w.node("Scan", ["x", "list"], ["st", "y"], body=body, num_scan_inputs=1)}[op]()
    return w.model(w.graph([top], X, [w.value("y")], [YES, w.tensor("two", w.INT64, [], [1]), w.floats("list", [1, 2])]))


def abyss(depth):
    """If in If in If, each the last field of its parent, so that 10^5 levels can be written in linear time."""
    pieces, size = [], 0
    for _ in range(depth):
        for head, number in ((b"", 1), (w.blob(1, "then_branch") + w.num(20, 5), 6), (w.blob(1, "yes") + w.blob(2, "o") + w.blob(4, "If"), 5)):
            # node = If fields + attribute; attribute = name, type + g; g = node: from the inside out
            pieces.append(head + w.key(number, 2) + w.varint(size))
            size += len(pieces[-1])
    inner = b"".join(reversed(pieces))
    # `inner` begins as the fields of a NodeProto.
    return w.model(w.graph([inner], X, [w.value("o")], [YES]))


def chain(count, op="Relu"):
    nodes = [w.node(op, [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(count)]
    return g(*nodes, outputs=[w.value(f"v{count}", w.FLOAT, [2])])


def backwards(count):
    nodes = [w.node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(count)]
    return g(*reversed(nodes), outputs=[w.value(f"v{count}", w.FLOAT, [2])])


def fan_out(count):
    nodes = [w.node("Neg", ["x"], [f"v{i}"]) for i in range(count)]
    return g(*nodes, w.node("Sum", [f"v{i}" for i in range(count)], ["y"]))


def outputs(count):
    return g(*[w.node("Neg", ["x"], [f"v{i}"]) for i in range(count)], outputs=[w.value(f"v{i}") for i in range(count)])


def branch(*outs, node=None):
    return w.graph([node or w.node("Relu", ["x"], ["t"])], [], [w.value(*o) if isinstance(o, tuple) else w.value(o) for o in outs])


def iff(then, other, outs="y", cond=YES):
    return w.model(w.graph([w.node("If", ["yes"], outs.split(), then_branch=then, else_branch=other)], X, [w.value(o) for o in outs.split()], [cond]))


def endless_loop():
    body = w.graph([w.node("Identity", ["c"], ["d"]), w.node("Relu", ["v"], ["o"])],
                   [w.value("i", w.INT64, []), w.value("c", w.BOOL, []), w.value("v", w.FLOAT, [2])],
                   [w.value("d", w.BOOL, []), w.value("o", w.FLOAT, [2])])
    return w.model(w.graph([w.node("Loop", ["m", "yes", "x"], ["y"], body=body)], X, Y, [YES, w.tensor("m", w.INT64, [], [(1 << 63) - 1])]))


def hoarding_loop(trips):
    """A scan output of `trips` rows of 1 kB."""
    body = w.graph([w.node("Identity", ["c"], ["d"]), w.node("Identity", ["big"], ["s"])],
                   [w.value("i", w.INT64, []), w.value("c", w.BOOL, [])], [w.value("d", w.BOOL, []), w.value("s")])
    return w.model(w.graph([w.node("Loop", ["m", "yes"], ["y"], body=body)], X, [w.value("y")],
                           [YES, w.tensor("m", w.INT64, [], [trips]), w.floats("big", [256])]))


CASES = [
    Case("N1", "cycle-of-two", g(n("Add", "x b", "a"), n("Relu", "a", "b"), n("Relu", "b", "y"))),
    Case("N1", "cycle-of-1000", g(*[w.node("Add", [f"v{i}", "x"], [f"v{(i + 1) % 1000}"]) for i in range(1000)], outputs=[w.value("v0")])),
    Case("N2", "self-loop", g(n("Add", "x y", "y"))),
    Case("N3", "output-twice", g(n("Relu", "x", "y"), n("Neg", "x", "y"))),
    Case("N3", "output-twice-in-one-node", w.model(w.graph([w.node("Split", ["x"], ["y", "y"], num_outputs=2)], X, Y), 18)),
    Case("N3", "output-hides-input", g(n("Relu", "x", "x"), n("Relu", "x", "y"))),
    Case("N3", "output-hides-initializer", g(n("Relu", "x", "k"), n("Relu", "k", "y"), inits=[w.floats("k", [2])])),
    Case("N3", "input-twice", g(n("Relu", "x", "y"), inputs=X * 2), ANY),
    Case("N3", "initializer-twice", g(n("Add", "x k", "y"), inits=[w.floats("k", [2]), w.floats("k", [1])]), ANY),
    Case("N3", "graph-output-twice", g(n("Relu", "x", "y"), outputs=Y * 2), ANY),
    Case("N4", "undefined-input", g(n("Add", "x nobody", "y"))),
    Case("N5", "output-not-made", g(n("Relu", "x", "z"))),
    Case("N5", "no-outputs", g(n("Relu", "x", "y"), outputs=()), ANY),
    Case("N6", "function-calls-itself", functions(("F", "F"))),
    Case("N6", "functions-call-each-other", functions(("F", "G"), ("G", "F"))),
    Case("N6", "functions-2-30-nodes", doubling_functions(30)),
    Case("N6", "functions-deep-2000", functions(*[(f"F{i}", f"F{i + 1}") for i in range(2000)])),
    Case("N6", "function-missing", functions(("F", "H"))),
    Case("N6", "function-twice", functions(("F", "G"), ("F", "G"))),
    *[Case("N7", f"{op}-10", nested(op, 10), ANY) for op in ("If", "Loop", "Scan")],
    *[Case("N7", f"{op}-100", nested(op, 100), ANY) for op in ("If", "Loop", "Scan")],
    *[Case("N7", f"{op}-1000", nested(op, 1000), BAD) for op in ("If", "Loop", "Scan")],
    Case("N7", "abyss-1000", abyss(1000)),
    Case("N7", "abyss-100000", abyss(100000)),
    Case("N8", "capture-of-a-later-name", g(w.node("If", ["yes"], ["a"], then_branch=branch("t", node=n("Relu", "b", "t")), else_branch=branch("t")),
                                            n("Neg", "x", "b"), n("Add", "a b", "y"), inits=[YES]), ANY),
    Case("N8", "capture-of-its-own-output", g(w.node("If", ["yes"], ["y"], then_branch=branch("t", node=n("Relu", "y", "t")), else_branch=branch("t")), inits=[YES])),
    Case("N8", "capture-from-a-sibling", iff(w.graph([n("Relu", "x", "s")], [], [w.value("s")]), branch("t", node=n("Relu", "s", "t")))),
    Case("N9", "branch-without-outputs", iff(branch(), branch("t"))),
    Case("N9", "branch-with-more-outputs", iff(w.graph([n("Relu", "x", "t"), n("Neg", "x", "u")], [], [w.value("t"), w.value("u")]), branch("t"))),
    Case("N9", "branches-of-two-types", iff(branch("t"), branch(("t", w.INT64, [2]), node=n("Shape", "x", "t"))), ANY),
    Case("N9", "branch-missing", w.model(w.graph([w.node("If", ["yes"], ["y"], then_branch=branch("t"))], X, Y, [YES]))),
    Case("N9", "branch-has-inputs", iff(w.graph([n("Relu", "q", "t")], [w.value("q")], [w.value("t")]), branch("t"))),
    Case("N9", "condition-is-a-float", iff(branch("t"), branch("t"), cond=w.floats("yes", []))),
    Case("N9", "condition-of-two", iff(branch("t"), branch("t"), cond=w.tensor("yes", w.BOOL, [2], [1, 0])), ANY),
    Case("N10", "loop-2-63", endless_loop(), ANY, seconds=4),
    Case("N10", "loop-hoards-1TB", hoarding_loop(1 << 30), ANY),
    Case("N10", "loop-trips-negative", hoarding_loop(-5), ANY),
    Case("N11", "chain-10-4", chain(10 ** 4), ANY),
    Case("N11", "chain-10-5", lambda folder: chain(10 ** 5), ANY),
    Case("N11", "chain-10-5-of-identities", lambda folder: chain(10 ** 5, "Identity"), ANY),
    Case("N11", "chain-10-5-backwards", lambda folder: backwards(10 ** 5), ANY),
    Case("N11", "fan-out-10-4", fan_out(10 ** 4), ANY),
    Case("N11", "outputs-10-4", outputs(10 ** 4), ANY),
    Case("N11", "chain-10-6", lambda folder: chain(10 ** 6), ANY, slow=True, seconds=10),
    Case("N11", "fan-out-10-5", lambda folder: fan_out(10 ** 5), ANY, slow=True, seconds=10),
    Case("N12", "unreachable-nodes", g(n("Relu", "x", "y"), n("Neg", "x", "dead"), n("Exp", "dead", "deader")), OK),
    Case("N12", "unreachable-unknown-op", g(n("Relu", "x", "y"), n("NoSuchOp", "x", "dead")), ANY),
    Case("N13", "unknown-op", g(n("NoSuchOp", "x", "y"))),
    Case("N13", "unknown-domain", g(w.node("Relu", ["x"], ["y"], domain="no.such.domain"))),
    Case("N13", "op-newer-than-opset", g(n("Gelu", "x", "y"), version=13), ANY),
    Case("N14", "conv-without-anything", g(w.node("Conv", ["", "", ""], ["y"]))),
    Case("N14", "conv-without-inputs", g(w.node("Conv", [], ["y"]))),
    Case("N14", "clip-with-empty-names", g(w.node("Clip", ["x", "", ""], ["y"])), OK),
    Case("N14", "relu-without-outputs", g(w.node("Relu", ["x"], []), n("Neg", "x", "y")), ANY),
    Case("N14", "relu-with-empty-output", g(w.node("Relu", ["x"], [""]), n("Neg", "x", "y")), ANY),
    Case("N14", "too-many-inputs", g(w.node("Relu", ["x"] * 500, ["y"]))),
    Case("N14", "too-many-outputs", g(w.node("Relu", ["x"], ["y"] + [f"z{i}" for i in range(500)]))),
    Case("N14", "resize-all-empty", w.one("Resize", [("x", w.FLOAT, [1, 1, 4, 4]), "", "", ""])),
    Case("N15", "initializer-is-input-of-another-shape", g(n("Add", "x k", "y"), inputs=X + [w.value("k", w.FLOAT, [3, 7])], inits=[w.floats("k", [2])]), ANY),
    Case("N15", "initializer-is-input-of-another-type", g(n("Add", "x k", "y"), inputs=X + [w.value("k", w.INT64, [2])], inits=[w.floats("k", [2])]), ANY),
    Case("N15", "value-info-lies", w.model(w.graph([n("Relu", "x", "a"), n("Relu", "a", "y")], X, Y, infos=[w.value("a", w.INT64, [9, 9])])), ANY),
    Case("N15", "output-shape-lies", g(n("Relu", "x", "y"), outputs=[w.value("y", w.FLOAT, [5, 5, 5])]), ANY),
    Case("N15", "output-type-lies", g(n("Relu", "x", "y"), outputs=[w.value("y", w.INT64, [2])]), ANY),
]
