"""The shared models as a test: `run.py accuracy|real|references --tenon PATH`, the tables of bench/accuracy.py,
bench/real.py and bench/references.py.

Exit code 77 (skipped, with the reason in capitals) without the shared models, or without a Python that has numpy, Pillow
and onnxruntime: this one, $TENON_PYTHON, or the environment that tools/peers.sh makes.
"""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEEDED = "numpy, PIL, onnxruntime"
SKIPPED = 77


def shared_models():
    folders = [pathlib.Path(os.environ["TENON_SHARED"])] if "TENON_SHARED" in os.environ else [p / "shared" for p in ROOT.parents]
    return any((f / "models").is_dir() for f in folders)


def suitable_python():
    for python in (os.environ.get("TENON_PYTHON"), ROOT / ".cache" / "peers-venv" / "bin" / "python", sys.executable):
        if python and pathlib.Path(python).exists():
            if subprocess.run([str(python), "-c", f"import {NEEDED}"], capture_output=True).returncode == 0:
                return str(python)
    return None


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ("accuracy", "real", "references"):
        sys.exit(__doc__)
    if not shared_models():
        print("*** SKIPPED: NO SHARED MODELS. Set TENON_SHARED to the folder that holds models/ and data/. ***")
        return SKIPPED
    python = suitable_python()
    if python is None:
        print(f"*** SKIPPED: NO PYTHON WITH {NEEDED.upper()}. Name one in TENON_PYTHON. ***")
        return SKIPPED
    return subprocess.run([python, str(ROOT / "bench" / f"{sys.argv[1]}.py"), *sys.argv[2:]]).returncode


if __name__ == "__main__":
    sys.exit(main())
