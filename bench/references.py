"""No hot op on a reference: every shared model is timed step by step, and no step may run on a reference kernel but those
that are allowed below, each by op and with its reason.

    python bench/references.py [--tenon PATH] [MODEL ...]

References are naive loops that allocate: a model that meets one is slow without anybody noticing. The exit code is 1 when
a step is found that is not allowed, or when an allowed one takes more than its share of the model's time.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile

import engines
import inputs

# op: (largest share of the model's time, why a reference will do)
ALLOWED = {
    "NonMaxSuppression": (0.5, "its size is decided by the data, so it allocates whatever runs it"),
    "Gather": (0.05, "of the few boxes that NonMaxSuppression leaves: a size that only the data decide"),
    "Transpose": (0.02, "the same"),
    "Squeeze": (0.02, "the same"),
    "ai.onnx.ml.DictVectorizer": (1.0, "takes a map, which only references do"),
}


def steps_of(tenon, model, feed, folder):
    npz = pathlib.Path(folder, "in.npz")
    inputs.save_npz(npz, feed)
    answer = engines.call([tenon, "bench", inputs.model_path(model), "--inputs", npz, "--threads", "1", "--opt-level", "1",
                              "--iterations", "3", "--duration", "0", "--layers", "--json"])
    return json.loads(answer)["layers"]


def judge(layers):
    """What is wrong with a model: (op, share, steps, reason) for each op that runs on references too much."""
    total = sum(l["ms"] for l in layers) or 1
    share, count = collections.Counter(), collections.Counter()
    for l in layers:
        if l["tactic"] == "reference":
            share[l["op"]] += l["ms"] / total
            count[l["op"]] += 1
    out = []
    for op in share:
        most, why = ALLOWED.get(op, (0, "no kernel takes it here; --explain says why, or add one"))
        if op not in ALLOWED or share[op] > most:
            out.append((op, share[op], count[op], why if op not in ALLOWED else f"at most {most:.0%} is allowed: {why}"))
    return out, sum(count.values()), sum(share.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenon", help="the binary; default build/release/tenon")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names as in inputs.py; default all")
    args = parser.parse_args()
    tenon = engines.find_tenon(args.tenon)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models or inputs.MODELS:
            size, feed = next(iter(inputs.cases(model).items()))
            try:
                wrong, count, share = judge(steps_of(tenon, model, feed, folder))
            except (engines.EngineError, subprocess.SubprocessError) as e:
                print(f"{model:<26}FAIL  {e}")
                failed += 1
                continue
            print(f"{model:<26}{'FAIL' if wrong else 'PASS'}  {count} steps on references, {share:.1%} of the time")
            for op, part, steps, why in sorted(wrong, key=lambda w: -w[1]):
                print(f"    {op}: {steps} steps, {part:.1%} of the time; {why}")
            failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
