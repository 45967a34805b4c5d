"""What a library's kernels bring: each model built with and without them, run in turns, and which tactics won.

    chrt -r 5 python bench/libraries.py --tenon build/release/tenon [--threads 2] [--rounds 5] [--markdown FILE] [MODEL ...]

Without MODEL: all shared models. Times are the medians of the rounds' medians in milliseconds, with the fastest round in
brackets; the two plans of a model take turns, so that other work on the machine meets both. The library is found as
docs/dependencies.md says (TENON_ONEDNN_LIBRARY, a pip environment that is active, ...).
"""
import argparse
import collections
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import engines
import inputs


def call(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
    return done.stdout


def winners(explained):
    """Tactics that won, by name, from `tenon build --explain all`."""
    return collections.Counter(re.findall(r"^  \* (\S+)", explained, re.M))


def measure(model, args, folder):
    size, feed = next(iter(inputs.cases(model).items()))
    npz = pathlib.Path(folder, "in.npz")
    inputs.save_npz(npz, feed)
    plans, won = {}, {}
    for name, flags in (("with", []), ("without", ["--no-libraries"])):
        plans[name] = pathlib.Path(folder, f"{name}.plan")
        won[name] = winners(call(args.tenon, "build", inputs.model_path(model), "-o", plans[name], *engines.shape_args(feed),
                                 "--threads", args.threads, "--no-verify", "--explain", "all", *flags))
    rounds = collections.defaultdict(list)
    for _ in range(args.rounds):
        for name, plan in plans.items():
            answer = json.loads(call(args.tenon, "bench", plan, "--inputs", npz, "--threads", args.threads, "--json",
                                     "--duration", args.seconds))
            rounds[name].append(answer["latency_ms"]["median"])
    ms = {name: (statistics.median(times), min(times)) for name, times in rounds.items()}
    return ms, {t: n for t, n in won["with"].items() if t.startswith("onednn_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenon", default="build/release/tenon")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--markdown", type=pathlib.Path)
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    lines = ["| model | without | with | ratio | tactics of the library that won |", "|---|---|---|---|---|"]
    for model in args.models or inputs.MODELS:
        try:
            with tempfile.TemporaryDirectory() as folder:
                ms, won = measure(model, args, folder)
        except (RuntimeError, KeyError) as e:
            print(f"{model}: {e}", file=sys.stderr)
            continue
        cell = {name: f"{t[0]:.2f} [{t[1]:.2f}]" for name, t in ms.items()}
        what = ", ".join(f"{n} {t}" for t, n in sorted(won.items())) or "none"
        lines.append(f"| {model} | {cell['without']} | {cell['with']} | {ms['without'][0] / ms['with'][0]:.2f} | {what} |")
        print(lines[-1], flush=True)
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
