"""Runs the corpus of bad inputs through the command line: no input may do worse than a typed error.

    python tests/hostile/run.py --tenon build/release/tenon [--full] [--series N7] [--model FILE] [--plan FILE]

Each case is a process: `tenon build CASE -o PLAN`, then `tenon run CASE` if that built. A bad case must be refused by one
of the two with exit code 3 (bad input), 4 (unsupported) or, when run, 5 (more memory than there is); never a signal or an
internal error, no file outside touched. The budget of a case is 1 s of CPU time and 256 MB of resident memory above the
file's size; more memory is a fault. More time is shown, and a fault from five times on (a hang, or more than linear), so that
a slow or busy machine does not decide. A limit on the address space keeps the machine alive whatever happens (so this is
for builds without sanitizers; --sanitized lifts the limits on memory and time).
Only Python's standard library is needed.
"""
import argparse
import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

import corpus

MEGA = 1 << 20
FAR = 5    # times the budget in CPU time: nothing that a slow machine explains


@dataclasses.dataclass
class Outcome:
    case: corpus.Case
    code: int
    cpu: float
    wall: float
    peak: int
    text: str
    fault: str = ""
    over: str = ""
    at_run: bool = False


def npz(path, feed):
    """{name: (numpy type, dims, bytes)} as an .npz file, without numpy."""
    with zipfile.ZipFile(path, "w") as z:
        for name, (kind, dims, data) in feed.items():
            head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({''.join(f'{d}, ' for d in dims)}), }}\n".encode()
            z.writestr(f"{name}.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + data)


def resident(pid):
    """The peak so far. (ru_maxrss would count this process too: it survives an exec.)"""
    try:
        with open(f"/proc/{pid}/status") as f:
            return next((int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def cpu_seconds(pid):
    """So far: on a busy machine the clock on the wall says little."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return sum(int(v) for v in f.read().rpartition(")")[2].split()[11:13]) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return float("inf")


def execute(command, limit_bytes, patience, folder):
    """(exit code, CPU seconds, wall seconds, peak bytes, last lines): minus the signal where one ended it, None on time out."""
    def limits():
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(patience) + 1, int(patience) + 2))

    begin = time.monotonic()
    log = folder / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=limits,
                                   env={**os.environ, "HOME": str(folder), "TENON_CACHE": str(folder / "cache"),
                                        # Memory that is not there is an error of the program's own, as without sanitizers.
                                        "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":allocator_may_return_null=1"})
        usage, code, peak = None, None, 0
        while time.monotonic() - begin < patience * 3 or cpu_seconds(process.pid) < patience and time.monotonic() - begin < 180:
            peak = max(peak, resident(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.002)
        else:
            os.kill(process.pid, signal.SIGKILL)
            usage = os.wait4(process.pid, 0)[2]
        process.returncode = code
    wall = time.monotonic() - begin
    with open(log, "rb") as f:
        f.seek(max(0, os.path.getsize(log) - 4000))
        text = f.read().decode(errors="replace").strip()
    return code, usage.ru_utime + usage.ru_stime, wall, peak, text


def judge(case, result, file_bytes, args):
    code, cpu, wall, peak, text = result
    budget, room = case.seconds * args.patience, args.memory * MEGA + file_bytes
    over = "" if args.sanitized else f"{peak // MEGA} MB resident" if peak > room else f"{cpu:.1f} s of CPU time" if cpu > budget else ""
    allowed = set(case.want)
    if code is None:
        fault = f"no end after {wall:.0f} s"
    elif code < 0:
        fault = f"signal {signal.Signals(-code).name}"
    elif "ERROR: AddressSanitizer" in text or "runtime error:" in text:  # its warnings are about memory that is not there
        fault = "sanitizer report"
    elif code not in allowed:
        fault = f"exit {code}, allowed {sorted(allowed)}"
    elif code and not text:
        fault = f"exit {code} without a word"
    elif not args.sanitized and (cpu > FAR * budget or peak > room):
        fault = over
    else:
        fault = ""
    return Outcome(case, code, cpu, wall, peak, text, fault, over)


def run_case(case, args):
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        folder = pathlib.Path(name)
        path = case.write(folder)
        size = path.stat().st_size if path.is_file() else 0
        limit = 0 if args.sanitized else args.address_space * MEGA + size
        seconds = 60 if args.sanitized else case.seconds * args.patience * FAR * 1.5
        before = {p for p in folder.rglob("*")}
        plan = folder / "out.plan"
        if case.series.startswith("L"):
            return judge(case, execute([args.tenon, "run", path, *(["--inputs", args.inputs] if args.inputs else [])], limit, seconds, folder), size, args)
        # What can only be seen with values at hand may build; running it must then say so.
        built = dataclasses.replace(case, want=(0, *case.want))
        outcome = first = judge(built, execute([args.tenon, "build", path, "-o", plan, *args.build_args.split()], limit, seconds, folder), size, args)
        outcome.case = case
        if outcome.fault:
            return outcome
        left = [p.name for p in folder.rglob("*") if p not in before and p.name not in ("log", "out.plan") and "cache" not in p.parts]
        if left:
            outcome.fault = f"left {left[0]} behind"
        elif outcome.code and plan.exists():
            outcome.fault = "a plan was written in spite of the error"
        elif outcome.code == 0 and not plan.exists():
            outcome.fault = "exit 0, but no plan"
        elif outcome.code == 0 and case.run:
            outcome = run_built(case, path, limit, seconds, size, folder, args)
            outcome.over = outcome.over or first.over
        return outcome


def run_built(case, path, limit, seconds, size, folder, args):
    command = [args.tenon, "run", path]
    if case.feed is not None:
        npz(folder / "in.npz", case.feed)
        command += ["--inputs", folder / "in.npz"]
    # A model that asks for more memory than there is, is refused with code 5 here.
    ran = dataclasses.replace(case, want=(*case.want, 5))
    outcome = judge(ran, execute(command, limit, seconds, folder), size, args)
    outcome.case, outcome.at_run = case, True
    return outcome


def plan_cases(path, full):
    """L: a plan file cut at every section's edge and elsewhere, one flipped bit a byte, numbers made extreme. Every one of
    them must be refused: a plan carries checksums."""
    data, out = path.read_bytes(), []
    step = max(1, len(data) // (4000 if full else 150))
    want = corpus.BAD
    for n in [*range(0, min(len(data), 256), 1 if full else 16), *range(256, len(data), step)]:
        out.append(corpus.Case("L1", f"cut-{n}", data[:n], want))
    dice = corpus.random.Random(4)
    for n in sorted({*range(0, min(len(data), 512), 1 if full else 8), *(dice.randrange(len(data)) for _ in range(3000 if full else 200))}):
        changed = bytearray(data)
        changed[n] ^= 1 << dice.randrange(8)
        out.append(corpus.Case("L2", f"flip-{n}", bytes(changed), want))
    for n in range(0, min(len(data), 512) - 8, 8 if not full else 4):
        for value in (0, (1 << 64) - 1, 1 << 63, 10 ** 9):
            if data[n:n + 8] != struct.pack("<Q", value):
                out.append(corpus.Case("L3", f"word-{n}-{value}", data[:n] + struct.pack("<Q", value) + data[n + 8:], want))
    out.append(corpus.Case("L4", "onnx-named-plan", corpus.base_model(), corpus.ANY))
    out.append(corpus.Case("L1", "appended", data + b"\0" * 64, corpus.ANY))
    return out


def collect(args):
    cases = [] if args.only_files else corpus.cases(args.full)
    for path in args.model or []:
        data = path.read_bytes()
        cases += corpus.truncations(data, path.stem, 64, None if args.full else 60)
        cases += corpus.flips(data, path.stem, 2000 if args.full else 60)
    for path in args.plan or []:
        cases += plan_cases(path, args.full)
    if args.sample and len(cases) > args.sample:
        cases = corpus.random.Random(5).sample(cases, args.sample)
    if args.series:
        cases = [c for c in cases if any(c.series == s or c.id.startswith(s) for s in args.series.split(","))]
    return cases


def known_faults():
    lines = pathlib.Path(__file__).with_name("known.txt").read_text().splitlines()
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def table(outcomes):
    rows = collections.defaultdict(list)
    for o in outcomes:
        rows[o.case.series].append(o)
    print(f"\n{'series':7} {'cases':>6} {'error 3':>8} {'error 4':>8} {'at run':>7} {'fine':>6} {'FAULTS':>7} {'over':>5} {'most CPU s':>11} {'most MB':>8}")
    for series in sorted(rows, key=lambda s: (s[0], int(s[1:]))):
        mine = rows[series]
        count = lambda code: sum(o.code == code and not o.fault and not o.at_run for o in mine)
        late = sum(bool(o.code) and o.at_run and not o.fault for o in mine)
        fine = sum(o.code == 0 and not o.fault for o in mine)
        print(f"{series:7} {len(mine):6} {count(3):8} {count(4):8} {late:7} {fine:6} {sum(bool(o.fault) for o in mine):7} {sum(bool(o.over) for o in mine):5} "
              f"{max(o.cpu for o in mine):11.2f} {max(o.peak for o in mine) / MEGA:8.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenon", required=True)
    parser.add_argument("--full", action="store_true", help="every flip and the slow cases; minutes to hours")
    parser.add_argument("--series", help="only these, as N7,D3 or the beginning of a case's name")
    parser.add_argument("--model", type=pathlib.Path, action="append", help="cut and flip this file too")
    parser.add_argument("--plan", type=pathlib.Path, action="append", help="cut and flip this plan (L series)")
    parser.add_argument("--inputs", type=pathlib.Path, help=".npz for running plans")
    parser.add_argument("--only-files", action="store_true", help="only --model and --plan")
    parser.add_argument("--sample", type=int, help="only this many cases, drawn evenly")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory", type=int, default=256, help="MB resident above the file's size")
    parser.add_argument("--address-space", type=int, default=2048, help="MB of address space above the file's size")
    parser.add_argument("--patience", type=float, default=1.0, help="factor on the time budget, for very slow machines")
    parser.add_argument("--build-args", default="", help="further arguments for `tenon build`")
    parser.add_argument("--sanitized", action="store_true", help="the binary has sanitizers: no limits on time and memory")
    parser.add_argument("--verbose", action="store_true", help="a line for each case")
    args = parser.parse_args()
    if not os.access(args.tenon, os.X_OK):
        sys.exit(f"{args.tenon} is not a program; build it first")
    args.tenon = str(pathlib.Path(args.tenon).resolve())
    cases, begin, outcomes = collect(args), time.monotonic(), []
    if not cases:
        sys.exit(f"no case matches --series {args.series}")
    known, repaired = known_faults(), []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for outcome in pool.map(lambda c: run_case(c, args), cases):
            outcomes.append(outcome)
            if not outcome.fault and outcome.case.id in known:
                repaired.append(outcome.case.id)
            if outcome.fault or outcome.over or args.verbose:
                last = outcome.text.splitlines()[-1][:150] if outcome.text else ""
                print(f"{('known' if outcome.case.id in known else 'FAULT') if outcome.fault else 'over ' if outcome.over else 'ok   '} {outcome.case.id}: {'run: ' * outcome.at_run}{outcome.fault or outcome.over or f'exit {outcome.code}'} | {last}", flush=True)
    table(outcomes)
    faults = sum(bool(o.fault) and o.case.id not in known for o in outcomes)
    waiting = sum(bool(o.fault) and o.case.id in known for o in outcomes)
    for case in repaired:
        print(f"{case} is good now: take it out of known.txt")
    print(f"\n{len(outcomes)} cases, {faults} faults, {waiting} known faults, {time.monotonic() - begin:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
