"""Speed side by side in one run: Tenon, ONNX Runtime, OpenVINO (fp32), all shared models, 1 and 2 threads.

    python bench/speed.py [--tenon PATH] [--threads 1,2] [--markdown FILE] [--json FILE] [MODEL ...]

Rounds are interleaved (A B C A B C); the table shows the minimum and, in brackets, the median of the rounds' medians, in
milliseconds, and how many times as fast as the peer Tenon is by minima (above 1: Tenon is faster). `*` marks figures of
rounds during which other processes took more than 0.15 cores, `!` models below 0.7 of ONNX Runtime. OpenVINO gets
static shapes, which suits it; both peers run with bound inputs. Memory is the peak of a fresh process, for the peers
less what Python and the import take.
"""
import argparse
import json
import pathlib
import platform
import sys
import tempfile
import time

import engines
import inputs
import timing

FLOOR = 0.7


def machine():
    name = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    isa = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if f in flags.split()]
    return f"{name}, {', '.join(isa)}, {platform.system()} {platform.release()}"


def contestants(model, npz, feed, threads, args, folder):
    """Tenon, ONNX Runtime and OpenVINO, loaded."""
    out = []
    if args.tenon:
        plan = pathlib.Path(folder, f"{model}.{threads}.plan")
        help_build, help_bench = engines.help_text(args.tenon, "build"), engines.help_text(args.tenon, "bench")
        shapes = engines.shape_args(feed)
        build = [args.tenon, "build", inputs.model_path(model), "-o", plan, *shapes, *args.build_args.split()]
        if "--threads" in help_build:
            build += ["--threads", threads]
        feeding = ["--inputs", npz] if "--inputs" in help_bench else shapes
        begin = time.perf_counter()
        try:
            engines.call(build)
            bench = timing.TenonBench(args.tenon, plan, [*feeding, *args.bench_args.split()], threads)
            bench.build_s = time.perf_counter() - begin
        except engines.EngineError as e:
            bench = timing.TenonBench(args.tenon, plan, [], threads)
            bench.error, bench.build_s = str(e), None
        out.append(bench)
    out += [timing.Peer(name, inputs.model_path(model), npz, threads) for name in args.peers]
    return out


def measure(model, threads, args, folder):
    size, feed = next(iter(inputs.cases(model).items()))
    npz = pathlib.Path(folder, "in.npz")
    inputs.save_npz(npz, feed)
    engines_here = contestants(model, npz, feed, threads, args, folder)
    try:
        results = timing.interleave(engines_here, args.rounds, args.seconds)
    finally:
        for e in engines_here:
            e.close()
    keys = (["tenon"] if args.tenon else []) + args.peers
    row = {"model": model, "size": size, "threads": threads, **dict(zip(keys, results))}
    if args.tenon:
        row["build_s"] = engines_here[0].build_s
        ours = row["tenon"]
        for peer in args.peers:
            if "min" in ours and "min" in row[peer]:
                row[f"vs_{peer}"] = row[peer]["min"] / ours["min"]
                row[f"vs_{peer}_median"] = row[peer]["median"] / ours["median"]
    return row


def figure(result):
    if result is None or "min" not in result:
        return "fails" if result else "-"
    digits = 3 if result["min"] < 1 else 2 if result["min"] < 10 else 1
    return f"{result['min']:.{digits}f} ({result['median']:.{digits}f}){'*' if result['disturbed'] else ''}"


def ratio(value):
    return "-" if value is None else f"{value:.2f}" + (" !" if value < FLOOR else "")


def megabytes(row, keys):
    return " / ".join(f"{row[k]['memory_bytes'] / 2**20:.0f}" if "memory_bytes" in row.get(k, {}) else "-" for k in keys)


def columns(args):
    keys = (["tenon"] if args.tenon else []) + args.peers
    titles = {"tenon": "Tenon ms", "ort": "ORT ms", "openvino": "OpenVINO ms"}
    head = ["model", "threads"] + [titles[k] for k in keys]
    if args.tenon:
        head += [f"vs {'ORT' if p == 'ort' else 'OV'}" for p in args.peers]
    return keys, head + ["MB " + " / ".join(titles[k].split()[0] for k in keys)]


def cells(row, keys, args):
    out = [row["model"], str(row["threads"])] + [figure(row.get(k)) for k in keys]
    if args.tenon:
        out += [ratio(row.get(f"vs_{p}")) for p in args.peers]
    return out + [megabytes(row, keys)]


def summaries(rows, args):
    """Lines of text: geometric means, flagged models, what failed."""
    lines = []
    for threads in args.threads:
        mine = [r for r in rows if r["threads"] == threads]
        for peer in args.peers if args.tenon else []:
            ratios = {r["model"]: r[f"vs_{peer}"] for r in mine if f"vs_{peer}" in r}
            medians = [r[f"vs_{peer}_median"] for r in mine if f"vs_{peer}_median" in r]
            if not ratios:
                continue
            label = "ONNX Runtime" if peer == "ort" else "OpenVINO"
            lines.append(f"{threads} thread{'s' * (threads > 1)}: Tenon is {timing.geometric_mean(ratios.values()):.2f} times as fast as "
                         f"{label} (geometric mean of {len(ratios)} by minima; {timing.geometric_mean(medians):.2f} by medians)")
            dynamic = [v for m, v in ratios.items() if "int8dyn" in m]
            if dynamic and peer == "ort":
                lines.append(f"  dynamic int8 models: {timing.geometric_mean(dynamic):.2f} times")
            slow = sorted((v, m) for m, v in ratios.items() if v < FLOOR)
            if slow and peer == "ort":
                lines.append(f"  below {FLOOR}: " + ", ".join(f"{m} {v:.2f}" for v, m in slow))
    for row in rows:
        for key in ["tenon", *args.peers]:
            if "error" in row.get(key, {}):
                lines.append(f"{row['model']}, {row['threads']} threads, {row[key]['name']} fails: {row[key]['error'][:220]}")
    return lines


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names as in inputs.py; default all")
    parser.add_argument("--tenon", help="the binary; default build/release/tenon")
    parser.add_argument("--no-tenon", action="store_true", help="the peers only")
    parser.add_argument("--peers", default="ort,openvino", type=lambda s: [p for p in s.split(",") if p])
    parser.add_argument("--threads", default=[1, 2], type=lambda s: [int(t) for t in s.split(",")])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round")
    parser.add_argument("--build-args", default="", help="further arguments for `tenon build`")
    parser.add_argument("--bench-args", default="", help="further arguments for `tenon bench`")
    parser.add_argument("--markdown", type=pathlib.Path, help="write the table here too")
    parser.add_argument("--json", type=pathlib.Path, help="write everything here")
    args = parser.parse_args()
    if inputs.shared_root() is None:
        sys.exit("no shared models: set TENON_SHARED to the folder that holds models/ and data/")
    unknown = [m for m in args.models if m not in inputs.MODELS] + [p for p in args.peers if p not in ("ort", "openvino")]
    if unknown:
        sys.exit(f"unknown name {unknown[0]}; `python bench/inputs.py` lists the models, the peers are ort and openvino")
    args.tenon = None if args.no_tenon else engines.find_tenon(args.tenon)
    return args


def main():
    args = parse_arguments()
    keys, head = columns(args)
    rows, names = [], {}
    print(f"{machine()}; {args.rounds} interleaved rounds of {args.seconds:g} s\n")
    widths = [24, 7] + [24] * len(keys) + [8] * (len(head) - len(keys) - 3) + [0]
    show = lambda row: print("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip(), flush=True)
    show(head)
    with tempfile.TemporaryDirectory(prefix="tenon-speed-") as folder:
        for model in args.models or inputs.MODELS:
            for threads in args.threads:
                row = measure(model, threads, args, folder)
                rows.append(row)
                names |= {k: row[k]["name"] for k in keys if "error" not in row[k]}
                show(cells(row, keys, args))
    lines = summaries(rows, args)
    print("\n" + "\n".join(lines) + "\n" + ", ".join(names.values()))
    if args.markdown:
        table = [head, ["---"] * len(head)] + [cells(r, keys, args) for r in rows]
        text = "\n".join("| " + " | ".join(r) + " |" for r in table)
        args.markdown.write_text(f"{machine()}. {', '.join(names.values())}. {args.rounds} interleaved rounds.\n\n{text}\n\n" +
                                 "\n".join(f"- {line.strip()}" for line in lines) + "\n")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "engines": names, "rounds": args.rounds, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
