"""Interleaved timing of several engines on one feed: A B C A B C, each in its own process, with a watch on the machine.

A round counts as disturbed if other processes took more than 0.15 cores while it ran; the minimum and the median of the
undisturbed rounds are reported where there are at least three of them, of all rounds (marked) otherwise.
"""
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import engines

DISTURBED = 0.15


def busy_seconds():
    """CPU seconds that the machine has spent in all, without idling and waiting."""
    try:
        with open("/proc/stat") as f:
            values = [int(v) for v in f.readline().split()[1:9]]
    except OSError:
        return 0.0
    return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")


class Peer:
    """ONNX Runtime or OpenVINO, held by worker.py."""

    def __init__(self, engine, model, npz, threads):
        worker = pathlib.Path(__file__).with_name("worker.py")
        self.process = subprocess.Popen([sys.executable, str(worker), engine, str(model), str(npz), str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        about = self._answer()
        self.error = about.get("error")
        self.name = about.get("name", engine)
        self.load_s = about.get("load_s")
        self.import_bytes = about.get("import_bytes", 0)

    def _answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"its process ended with {self.process.wait()}"}

    def round(self, seconds):
        try:
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
        except OSError:
            pass
        return self._answer()

    def memory(self, answer):
        return answer["peak_bytes"] - self.import_bytes

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class TenonBench:
    """`tenon bench` on a plan or a model: a process a round."""

    def __init__(self, binary, target, arguments, threads, load_s=None):
        self.binary, self.target, self.arguments, self.threads = binary, target, arguments, threads
        self.name, self.error, self.load_s = "Tenon", None, load_s
        self.has_duration = "--duration" in engines.help_text(binary, "bench")

    def round(self, seconds):
        command = [self.binary, "bench", self.target, *self.arguments, "--threads", self.threads, "--json"]
        if self.has_duration:
            command += ["--duration", seconds]
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        try:
            out = json.loads(engines.call(command))
        except (engines.EngineError, json.JSONDecodeError) as e:
            return {"error": str(e)}
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        latency = out["latency_ms"]
        return {"min": latency["min"], "median": latency["median"], "wall_s": time.perf_counter() - begin,
                "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                "peak_bytes": out["peak_memory_bytes"], "report": out}

    def memory(self, answer):
        return answer["peak_bytes"]

    def close(self):
        pass


def interleave(contestants, rounds, seconds):
    """Runs the rounds; returns one summary for each contestant: min, median, disturbed, memory, or error."""
    answers = [[] for _ in contestants]
    for _ in range(rounds):
        for contestant, mine in zip(contestants, answers):
            if contestant.error:
                continue
            before = busy_seconds()
            answer = contestant.round(seconds)
            if "error" in answer:
                contestant.error = answer["error"]
                continue
            others = (busy_seconds() - before - answer["cpu_s"]) / max(answer["wall_s"], 1e-3)
            mine.append({**answer, "others": others})
    return [summary(c, a) for c, a in zip(contestants, answers)]


def summary(contestant, answers):
    if contestant.error or not answers:
        return {"name": contestant.name, "error": contestant.error or "no rounds"}
    quiet = [a for a in answers if a["others"] <= DISTURBED]
    used = quiet if len(quiet) >= 3 else answers
    return {"name": contestant.name, "min": min(a["min"] for a in used), "disturbed": used is not quiet,
            "median": statistics.median(a["median"] for a in used), "rounds": len(used), "load_s": contestant.load_s,
            "memory_bytes": max(contestant.memory(a) for a in answers), "report": answers[-1].get("report")}


def geometric_mean(values):
    values = list(values)
    return statistics.geometric_mean(values) if values else float("nan")


def cores():
    """Physical cores that this process may use."""
    try:
        allowed = os.sched_getaffinity(0)
        pairs = set()
        for cpu in allowed:
            topology = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
            pairs.add((topology.joinpath("physical_package_id").read_text(), topology.joinpath("core_id").read_text()))
        return max(1, len(pairs))
    except OSError:
        return os.cpu_count() or 1
