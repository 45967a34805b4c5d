"""Running a model on one feed: by the `tenon` binary, by ONNX Runtime. Shared by the scripts of this folder."""
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

import feeds

EXIT_CODES = {0: "done", 1: "internal error", 2: "usage", 3: "bad input", 4: "unsupported", 5: "device or resource",
              6: "verification failed"}


class EngineError(Exception):
    """A run that did not happen; `code` is the exit code where there was a process (negative: a signal)."""

    def __init__(self, message, code=None):
        super().__init__(message)
        self.code = code


def find_tenon(given=None):
    """The binary: as given, $TENON, build/release/tenon of this tree, or the one on the path."""
    tree = pathlib.Path(__file__).resolve().parent.parent / "build" / "release" / "tenon"
    for candidate in (given, os.environ.get("TENON"), tree if tree.exists() else None, shutil.which("tenon")):
        if candidate:
            if not shutil.which(str(candidate)):
                sys.exit(f"{candidate} is not a program; build it with `make build`, or name it with --tenon")
            return str(pathlib.Path(shutil.which(str(candidate))).resolve())
    sys.exit("no tenon binary: build it with `make build`, or name it with --tenon")


def call(command, timeout=600):
    """Runs a command; returns its stdout, raises EngineError with the last lines of stderr otherwise."""
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise EngineError(f"did not finish within {timeout} s") from None
    if done.returncode:
        what = EXIT_CODES.get(done.returncode, f"signal {-done.returncode}" if done.returncode < 0 else "?")
        tail = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise EngineError(f"exit {done.returncode} ({what}): {tail}", done.returncode)
    return done.stdout


@functools.cache
def help_text(binary, verb):
    """What `tenon VERB --help` says: options that came later are used where they exist."""
    return subprocess.run([str(binary), verb, "--help"], capture_output=True, text=True, timeout=60).stdout


def run_tenon(binary, model, feed, extra=(), timeout=600):
    """{output name: array} of `tenon run`."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "in.npz"), pathlib.Path(folder, "out.npz")
        feeds.save_npz(source, feed)
        call([binary, "run", model, "--inputs", source, "--outputs", target, *extra], timeout)
        if not target.exists():
            raise EngineError("exit 0, but the outputs were not written")
        with np.load(target) as arrays:
            return {name: arrays[name] for name in arrays.files}


def ort_session(model, optimise=True, threads=0):
    try:
        import onnxruntime
    except ImportError:
        raise SystemExit("this needs the Python package onnxruntime (pip install onnxruntime)") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def run_ort(session, feed):
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feed)))


class Ort:
    """ONNX Runtime behind the two calls that real.py and others need."""

    name = "ONNX Runtime"

    def load(self, model, feed):
        return ort_session(model, threads=os.cpu_count() or 1)

    def run(self, session, feed):
        return run_ort(session, feed)


class Tenon:
    """`tenon build` once, then `tenon run` on the plan for each feed."""

    name = "Tenon"

    def __init__(self, binary, build_args=()):
        self.binary, self.build_args = binary, list(build_args)
        self.folder = tempfile.TemporaryDirectory(prefix="tenon-bench-")

    def load(self, model, feed):
        """A plan for the shapes of `feed`."""
        plan = pathlib.Path(self.folder.name, pathlib.Path(model).stem + ".plan")
        call([self.binary, "build", model, "-o", plan, *shape_args(feed), *self.build_args])
        return plan

    def run(self, plan, feed):
        return run_tenon(self.binary, plan, feed)


def shape_args(feed):
    """--shape options that fix the dims of every array input."""
    args = []
    for name, value in feed.items():
        if not isinstance(value, dict) and value.ndim > 0:
            args += ["--shape", f"{name}:{'x'.join(map(str, value.shape))}"]
    return args
