"""The accuracy table: every shared model, every size, Tenon against ONNX Runtime on the same inputs.

    python bench/accuracy.py [--tenon PATH] [--json] [MODEL ...]

For each output the largest absolute error, that error relative to the output's scale (its largest finite magnitude) and
the root mean square error relative to the scale are taken; the worst output is shown. Detection heads mix pixels and
probabilities in one tensor, so they are cut into such parts first, each with its own scale. The exit code is 1 if a row
fails. `--engine ort` checks ONNX Runtime without graph optimisations in Tenon's place (a check of this script).
"""
import argparse
import json
import sys

import numpy as np

import engines
import inputs

# Why a model is not held to 1e-4. Measured with ONNX Runtime 1.32 on these inputs: "perturbed" is its own reaction to
# inputs changed by a factor of up to 1 +- 1e-5, "unoptimised" its answer with graph optimisations off.
REASONS = {
    "fp32": "fp32: rounding of sums in another order; 1e-4 of the output's scale",
    "boxes": "fp32, raw box outputs of a network that amplifies rounding: Tenon is 0.7e-4 of the scale away from its "
             "double-precision reference (tenon compare), ONNX Runtime lies on the other side of it; 2e-4 between the two",
    "fp16": "fp16 tensors: each rounding is 5e-4; ORT computes in fp32 between casts, and differs from itself unoptimised by 5e-4",
    "int8dyn": "dynamic int8: the scales follow the activations, so a change in the last bit moves whole tensors by a quantum. "
               "ORT perturbed moves by 0.02-0.41 (max), 0.005-0.015 (rms), 0.055 (rms of the scores that matter)",
    "qdq": "static int8: a value at a rounding boundary falls on either side. ORT unoptimised is 0.08 (box) and 0.41 (score) away "
           "from ORT by maximum, 0.004 and 0.054 by rms; the nearer of the two counts",
    "rows": "dynamic int8, end-to-end head: rows with score above 0.25 are matched by class and overlap, then compared. ORT perturbed "
            "by 1e-6 moves the second person's score from 0.89 to 0.31 (rms 0.42), its boxes by 0.003",
}


class Tolerance:
    """A limit on the error relative to the output's scale: of the maximum, or of the root mean square. Heads of detectors
    that are measured by rms have a limit of their own for the scores."""

    def __init__(self, reason, limit, rms=False, score=None):
        self.reason, self.rms, self.limits = reason, rms, {"score": limit if score is None else score}
        self.default = limit

    def limit(self, part):
        return self.limits.get(part, self.default)


FP32 = Tolerance("fp32", 1e-4)
# Entries only where a model is not plain fp32.
TOLERANCES = {
    "yolox-nano-416": Tolerance("boxes", 2e-4),
    "squeezenet1.0-fp16-224": Tolerance("fp16", 2e-3),
    "yolov5n-fp16-640": Tolerance("fp16", 5e-3),
    "mobilenetv2-int8dyn-224": Tolerance("int8dyn", 3e-2, rms=True),
    "yolov8n-int8dyn-640": Tolerance("int8dyn", 1e-2, rms=True, score=0.1),
    "yolov8n-seg-int8dyn-320": Tolerance("int8dyn", 1e-2, rms=True, score=0.1),
    "yolo26n-int8dyn-640": Tolerance("rows", 2e-2, rms=True, score=0.6),
    "mobilenetv4s-qdq-qat": Tolerance("qdq", 1e-2, rms=True),
    "yolov8n-qdq-640": Tolerance("qdq", 1e-2, rms=True, score=0.1),
    "yolov8n-qdq-broken-640": Tolerance("qdq", 1e-2, rms=True, score=0.1),
    "yolov8n-qop-broken-640": Tolerance("qdq", 2e-2, rms=True, score=0.1),
}


def parts(model, output):
    """Cuts detection heads into parts of one unit each: {label: array}."""
    if model.startswith("yolov8n") and output.ndim == 3:
        cut = {"box": output[:, :4], "score": output[:, 4:84], "mask": output[:, 84:]}
    elif model in ("yolov5n-fp16-640", "yolox-nano-416"):
        cut = {"box": output[..., :4], "score": output[..., 4:]}
    elif model == "yolo26n-int8dyn-640":
        cut = {"box": output[..., :4] / 640, "score": output[..., 4]}
    elif model == "nms-yolov8":
        cut = {"box": output[..., :4], "score": output[..., 4:]}
    else:
        cut = {"": output}
    return {k: v for k, v in cut.items() if v.size or k == ""}


def match_rows(want, got, score=0.25):
    """Rows of `got` in the order of those of `want` above `score`, by class and overlap; zeros where there is none."""
    import pictures
    want, rows = want[0][want[0][:, 4] > score], got[0]
    found, free = np.zeros_like(want), np.ones(len(rows), bool)
    for i, row in enumerate(want):
        overlap = np.where(free & (rows[:, 5] == row[5]), pictures.iou(row[:4], rows[:, :4]), 0)
        if overlap.max() > 0.5:
            found[i], free[overlap.argmax()] = rows[overlap.argmax()], False
    return want[None], found[None]


def difference(model, want, got, tolerance):
    """The worst part of one output: dict(part, max_abs, rel, rms, note)."""
    want, got = np.asarray(want), np.asarray(got)
    worst = {"part": "", "max_abs": 0.0, "rel": 0.0, "rms": 0.0, "note": ""}
    infinite = {"max_abs": float("inf"), "rel": float("inf"), "rms": float("inf")}
    if want.shape != got.shape:
        return {**worst, **infinite, "note": f"shape {list(got.shape)}, should be {list(want.shape)}"}
    if want.dtype != got.dtype:
        return {**worst, **infinite, "note": f"type {got.dtype}, should be {want.dtype}"}
    if want.dtype.kind in "iubUSO":
        return worst if np.array_equal(want, got) else {**worst, **infinite, "note": "integers or strings differ"}
    if tolerance.reason == "rows":
        want, got = match_rows(want, got)
    for (label, a), b in zip(parts(model, want).items(), parts(model, got).values()):
        a, b = a.astype(np.float64), b.astype(np.float64)
        if a.size == 0:
            continue
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return {**worst, **infinite, "part": label, "note": "NaN or infinity in other places"}
        delta = np.abs(np.where(np.isfinite(a), a - b, 0))
        scale = max(np.abs(a[np.isfinite(a)]).max(initial=0), 1e-30)
        if not np.isfinite(delta).all():
            return {**worst, **infinite, "part": label, "note": "not finite"}
        if label == "score":  # nearly all scores are nearly 0: only those that could become a detection say something
            live = np.maximum(np.abs(a), np.abs(b)) > 0.05 * scale
            delta = np.where(live, delta, 0)
            mean = (delta ** 2).sum() / max(live.sum(), 1)
        else:
            mean = (delta ** 2).mean()
        this = {"part": label, "max_abs": float(delta.max()), "rel": float(delta.max() / scale),
                "rms": float(np.sqrt(mean) / scale), "note": ""}
        key = "rms" if tolerance.rms else "rel"
        worst = max(worst, this, key=lambda d: d[key] / tolerance.limit(d["part"]))
    return worst


def compare(model, want, got, tolerance):
    """The worst output of a run: difference() plus `output` and `error`, the number the tolerance is about."""
    missing = [name for name in want if name not in got]
    if missing:
        return {"output": missing[0], "part": "", "max_abs": float("inf"), "rel": float("inf"), "rms": float("inf"),
                "error": float("inf"), "limit": tolerance.default, "note": "output missing"}
    rows = []
    for name in want:
        row = difference(model, want[name], got[name], tolerance)
        rows.append({"output": name + (f" {row['part']}" if row["part"] else ""), **row,
                     "error": row["rms"] if tolerance.rms else row["rel"], "limit": tolerance.limit(row["part"])})
    return max(rows, key=lambda r: r["error"] / r["limit"])


def check(model, engine, args):
    """Yields one row a size."""
    tolerance = TOLERANCES.get(model, FP32)
    path = inputs.model_path(model)
    sessions = [engines.ort_session(path)]
    if tolerance is not FP32 or engine is None:
        sessions.append(engines.ort_session(path, optimise=False))
    imports = True
    if engine:
        try:
            engines.call([engine, "inspect", path], args.timeout)
        except engines.EngineError as e:
            imports = e.code == 2  # a binary without that verb: the run will tell
            error = str(e)
    for size, feed in inputs.cases(model).items():
        row = {"model": model, "size": size, "imports": imports, "runs": False, "reason": tolerance.reason,
               "measure": "rms" if tolerance.rms else "max", "pass": False}
        try:
            if not imports:
                raise engines.EngineError(error)
            wants = [engines.run_ort(s, feed) for s in sessions]
            got = wants.pop() if engine is None else engines.run_tenon(engine, path, feed, args.run_args.split(), args.timeout)
            row["runs"] = True
            opinions = [compare(model, want, got, tolerance) for want in wants]
            best = min(opinions, key=lambda o: o["error"] / o["limit"])
            row |= best
            row["against"] = ["ORT", "ORT unoptimised"][opinions.index(best)]
            row["errors"] = [o["error"] for o in opinions]
            row["pass"] = row["error"] <= row["limit"]
        except engines.EngineError as e:
            row["note"] = str(e)
        yield row


def text_row(r):
    yes = lambda b: "yes" if b else "NO"
    if not r["runs"]:
        return [r["model"], r["size"], yes(r["imports"]), "NO", "", "", "", "", "", "", "FAIL", r["note"]]
    second = f"{r['errors'][1]:.1e}" if len(r["errors"]) > 1 else "-"
    return [r["model"], r["size"], yes(r["imports"]), "yes", r["output"][-34:], f"{r['max_abs']:.1e}", f"{r['rel']:.1e}",
            f"{r['rms']:.1e}", second, f"{r['limit']:g} {r['measure']}", "PASS" if r["pass"] else "FAIL",
            r["note"] or r["reason"]]


HEAD = ["model", "size", "imports", "runs", "worst output", "max abs", "rel", "rms rel", "vs unopt", "tolerance", "", "reason"]
WIDTHS = [24, 12, 7, 4, 34, 8, 8, 8, 8, 10, 4, 0]


def line(cells):
    return "  ".join(str(c).ljust(w) for c, w in zip(cells, WIDTHS)).rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names as in inputs.py; default all")
    parser.add_argument("--tenon", help="the binary; default build/release/tenon")
    parser.add_argument("--engine", choices=["tenon", "ort"], default="tenon")
    parser.add_argument("--run-args", default="", help="further arguments for `tenon run`")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one run")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    args = parser.parse_args()
    if inputs.shared_root() is None:
        sys.exit("no shared models: set TENON_SHARED to the folder that holds models/ and data/")
    unknown = [m for m in args.models if m not in inputs.MODELS]
    if unknown:
        sys.exit(f"unknown model {unknown[0]}; `python bench/inputs.py` lists them")
    engine = engines.find_tenon(args.tenon) if args.engine == "tenon" else None
    rows = []
    if not args.json:
        print(line(HEAD))
    for model in args.models or inputs.MODELS:
        for row in check(model, engine, args):
            rows.append(row)
            if not args.json:
                print(line(text_row(row)), flush=True)
    failed = [r for r in rows if not r["pass"]]
    if args.json:
        print(json.dumps({"rows": rows, "reasons": REASONS, "failed": len(failed)}, indent=1, default=float))
    else:
        print("\nReasons:")
        for key in dict.fromkeys(r["reason"] for r in rows):
            print(f"  {key}: {REASONS[key]}")
        models = {r["model"] for r in rows}
        print(f"\n{len(models)} models, {len(rows)} sizes: {len(rows) - len(failed)} pass, {len(failed)} fail "
              f"(imported {sum(r['imports'] for r in rows)}, ran {sum(r['runs'] for r in rows)})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
