"""The headline: Tenon beside ONNX Runtime (and OpenVINO where it is installed) at batch 1 and 20.

    python bench/headline.py --tenon PATH --model FILE [--shape NAME:1x3x224x224] [--model FILE2 ...] [--batches 1,20]

--shape belongs to the --model before it, is needed where a file has symbolic dims other than the first, and wins over
what the file declares. Its first dim is replaced by the batch. Inputs are random numbers between 0 and 1 (integers: 0).
"""
import argparse
import importlib.util
import json
import pathlib
import sys
import tempfile

import numpy as np

import engines
import feeds
import onnx_shapes
import timing

# TensorProto.DataType to numpy
TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
         10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64}


class ModelAction(argparse.Action):
    def __call__(self, parser, space, value, option=None):
        if option == "--model":
            if not pathlib.Path(value).is_file():
                parser.error(f"{value} does not exist")
            space.models.append((pathlib.Path(value), {}))
            return
        name, _, dims = value.rpartition(":")
        if not space.models or not name or not all(d.isdigit() for d in dims.split("x")):
            parser.error(f"--shape {value}: write NAME:1x3x224x224, after the --model it belongs to")
        space.models[-1][1][name] = [int(d) for d in dims.split("x")]


def feed_for(path, shapes, batch):
    """A feed at this batch; None where the file fixes another one and no shape was given for it."""
    random, feed = np.random.default_rng(1), {}
    declared = onnx_shapes.inputs(path.read_bytes())
    for name in shapes:
        if name not in declared:
            sys.exit(f"{path} has no input {name}; it has {', '.join(declared)}")
    for name, (kind, dims) in declared.items():
        if name in shapes:
            dims = shapes[name]
        elif any(d is None for d in dims[1:]):
            sys.exit(f"{path}: input {name} has symbolic dims; say which with --shape {name}:{'x'.join(str(d or '?') for d in dims)}")
        elif dims and dims[0] is not None and dims[0] != batch:
            return None
        if kind not in TYPES:
            sys.exit(f"{path}: input {name} has element type {kind}, which is not made up here")
        shape = [batch, *dims[1:]] if dims else []
        kind = np.dtype(TYPES[kind])
        feed[name] = np.asarray(random.random(shape)).astype(kind) if kind.kind == "f" else np.zeros(shape, kind)
    return feed


def measure(path, feed, args, folder):
    npz = pathlib.Path(folder, "in.npz")
    feeds.save_npz(npz, feed)
    plan = pathlib.Path(folder, path.stem + f".{feeds.batch_of(feed)}.plan")
    shapes = engines.shape_args(feed)
    tenon = timing.TenonBench(args.tenon, plan, [], args.threads)
    if "--inputs" in engines.help_text(args.tenon, "bench"):
        tenon.arguments = ["--inputs", npz]
    else:
        tenon.arguments = shapes
    build = [args.tenon, "build", path, "-o", plan, *shapes]
    if "--threads" in engines.help_text(args.tenon, "build"):
        build += ["--threads", args.threads]
    try:
        engines.call(build)
    except engines.EngineError as e:
        tenon.error = str(e)
    peers = ["ort"] + (["openvino"] if importlib.util.find_spec("openvino") else [])
    everyone = [tenon] + [timing.Peer(p, path, npz, args.threads) for p in peers]
    try:
        results = timing.interleave(everyone, args.rounds, args.seconds)
    finally:
        for e in everyone:
            e.close()
    return dict(zip(["tenon", *peers], results))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(models=[])
    parser.add_argument("--model", action=ModelAction, required=True, metavar="FILE")
    parser.add_argument("--shape", action=ModelAction, metavar="NAME:DIMS")
    parser.add_argument("--tenon", help="the binary; default build/release/tenon")
    parser.add_argument("--batches", default=[1, 20], type=lambda s: [int(b) for b in s.split(",")])
    parser.add_argument("--threads", type=int, default=timing.cores(), help="for every engine; default all cores")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.tenon = engines.find_tenon(args.tenon)
    if not importlib.util.find_spec("onnxruntime"):
        sys.exit("onnxruntime is not installed in this Python (tools/peers.sh makes an environment that has it)")

    rows, names, failed = [], {}, False
    with tempfile.TemporaryDirectory(prefix="tenon-headline-") as folder:
        for path, shapes in args.models:
            for batch in args.batches:
                feed = feed_for(path, shapes, batch)
                if feed is None:
                    print(f"{path.name}: the file fixes its batch, no row for batch {batch}", file=sys.stderr)
                    continue
                result = measure(path, feed, args, folder)
                rows.append({"model": path.stem, "batch": batch, **result})
                names |= {k: v["name"] for k, v in result.items() if "error" not in v}
                for r in result.values():
                    if "error" in r:
                        print(f"{path.name}, batch {batch}: {r['name']} fails: {r['error']}", file=sys.stderr)
                failed |= "error" in result["tenon"]
    if args.json:
        print(json.dumps({"threads": args.threads, "engines": names, "rows": rows}, indent=1))
        return 1 if failed else 0
    print(f"Milliseconds a run, best of {args.rounds} interleaved rounds (median in brackets), {args.threads} "
          f"thread{'s' * (args.threads > 1)}; {', '.join(names.values())}\n")
    keys = list(dict.fromkeys(k for r in rows for k in r if k not in ("model", "batch")))
    table = [["model", "batch"] + [names.get(k, k) for k in keys] + ["Tenon is"]]
    for r in rows:
        cells = [f"{r[k]['min']:.2f} ({r[k]['median']:.2f}){'*' if r[k]['disturbed'] else ''}" if "min" in r.get(k, {}) else "-" for k in keys]
        times = f"{r['ort']['min'] / r['tenon']['min']:.2f} times as fast as ONNX Runtime" if "min" in r["ort"] and "min" in r["tenon"] else ""
        table.append([r["model"], str(r["batch"]), *cells, times])
    table.insert(1, ["---"] * len(table[0]))
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        print("| " + " | ".join(("-" * w if c == "---" else c.ljust(w)) for c, w in zip(row, widths)) + " |")
    if any(v.get("disturbed") for r in rows for v in r.values() if isinstance(v, dict)):
        print("\n* other processes took more than 0.15 cores meanwhile")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
