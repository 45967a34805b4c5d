"""The corpus: every case as data. `python tests/hostile/corpus.py --out DIR` writes the files (seeds for fuzzers too).

A case has a series (as in the list of bad inputs: T container, N topology, D dimensions, V values, X external data), a
name, the bytes or a function that lays out a folder and returns the model's path, and what may happen:
BAD: a typed error; OK: a build; ANY: either; RES: an error, out of memory included. Never a crash, an internal error, or more than the budget.
"""
import argparse
import dataclasses
import pathlib
import random
from typing import Callable, Union

import wire as w

BAD, OK, ANY, RES = (3, 4), (0,), (0, 3, 4), (3, 4, 5)


@dataclasses.dataclass
class Case:
    series: str
    name: str
    made: Union[bytes, Callable]        # the file, or f(folder) -> path
    want: tuple = BAD
    feed: dict = None                   # inputs for `tenon run` after a build: {name: (numpy type, dims, bytes)}
    slow: bool = False                  # only with --full
    run: bool = True                    # run what was built
    seconds: float = 1.0

    @property
    def id(self):
        return f"{self.series}-{self.name}"

    def write(self, folder):
        """The model's path, its files written under `folder`."""
        if not isinstance(self.made, bytes):
            made = self.made(folder)
            if not isinstance(made, bytes):
                return made
        else:
            made = self.made
        path = folder / "model.onnx"
        path.write_bytes(made)
        return path


def base_model():
    """A small network with a bit of everything, the ground for truncations and flips: 1.6 kB."""
    nodes = [w.node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="conv"),
             w.node("BatchNormalization", ["c", "s", "s", "s", "s"], ["n"], epsilon=1e-3),
             w.node("Relu", ["n"], ["r"]),
             w.node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
             w.node("Reshape", ["p", "to"], ["f"]),
             w.node("Gemm", ["f", "g", ""], ["h"], transB=1),
             w.node("If", ["yes"], ["i"],
                    then_branch=w.graph([w.node("Relu", ["h"], ["t"])], [], [w.value("t")]),
                    else_branch=w.graph([w.node("Neg", ["h"], ["e"])], [], [w.value("e")])),
             w.node("Softmax", ["i"], ["y"], axis=1)]
    inits = [w.floats("w", [4, 2, 3, 3], 0.1), w.floats("b", [4]), w.floats("s", [4], 1.0), w.ints("to", [1, -1]),
             w.floats("g", [5, 36], 0.01), w.tensor("yes", w.BOOL, [], [1])]
    return w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1, 2, 6, 6])], [w.value("y", w.FLOAT, [1, 5])], inits))


def truncations(data, name, step=64, limit=None, seed=1):
    """Cut at every step-th byte, or a sample of these."""
    cuts = list(range(0, len(data), step))
    if limit and len(cuts) > limit:
        cuts = sorted(random.Random(seed).sample(cuts, limit))
    return [Case("T1", f"{name}-cut-{n}", data[:n]) for n in cuts]


def flips(data, name, limit=None, seed=2):
    """One flipped bit: all of them, or a sample."""
    bits = range(len(data) * 8)
    if limit and len(bits) > limit:
        bits = sorted(random.Random(seed).sample(bits, limit))
    out = []
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        out.append(Case("T2", f"{name}-flip-{bit}", bytes(changed), ANY))
    return out


def storms(data, name, count, seed=3):
    """Many random changes at once: bytes overwritten, removed, repeated, swapped."""
    dice, out = random.Random(seed), []
    for i in range(count):
        changed = bytearray(data)
        for _ in range(dice.randint(1, 12)):
            at, size = dice.randrange(len(changed)), dice.randint(1, 24)
            what = dice.randrange(4)
            if what == 0:
                changed[at:at + size] = dice.randbytes(size)
            elif what == 1:
                del changed[at:at + size]
            elif what == 2:
                changed[at:at] = changed[at:at + size] * dice.randint(1, 4)
            else:
                changed[at] = dice.choice([0, 1, 0x7f, 0x80, 0xff])
        out.append(Case("T2", f"{name}-storm-{i}", bytes(changed), ANY))
    return out


def cases(full=False):
    """All cases in order of series; `full` adds the slow ones and every flip."""
    import dimensions
    import external
    import containers
    import topology
    import values
    base = base_model()
    # Cutting at every byte is cheap here and finds what a step of 64 misses.
    out = [Case("T0", "base", base, OK)]
    out += truncations(base, "base", 1 if full else 16) + flips(base, "base", None if full else 250)
    out += storms(base, "base", 2000 if full else 150)
    for part in (containers, topology, dimensions, values, external):
        out += part.CASES
    ids = [c.id for c in out]
    twice = {i for i in ids if ids.count(i) > 1} if len(ids) < 3000 else set()
    assert not twice, f"case names must differ: {twice}"
    return [c for c in out if full or not c.slow]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    count = 0
    for case in cases(args.full):
        folder = args.out / case.id
        folder.mkdir(parents=True, exist_ok=True)
        case.write(folder)
        count += 1
    print(f"{count} cases in {args.out}")


if __name__ == "__main__":
    main()
