"""The official ONNX backend tests as a test: `run.py --runner PATH [--work FOLDER] [runner's options]`.

Unpacks the corpus of $TENON_SHARED (or a folder shared/ beside or above the project) once into the work folder and hands it
to the runner with the committed status file. Exit code 77 (skipped, with the reason in capitals) where there is no corpus.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77


def corpus():
    folders = [pathlib.Path(os.environ["TENON_SHARED"])] if "TENON_SHARED" in os.environ else [p / "shared" for p in ROOT.parents]
    for folder in folders:
        packed = folder / "conformance" / "onnx-backend-tests.tar.zst"
        if packed.is_file():
            return packed
    return None


def unpack(packed, work):
    stamp = f"{packed.stat().st_size} {int(packed.stat().st_mtime)}"
    mark = work / "unpacked"
    if not mark.is_file() or mark.read_text() != stamp:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        unzip = subprocess.Popen(["zstd", "-dc", str(packed)], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", str(work)], stdin=unzip.stdout, check=True)
        if unzip.wait() != 0:
            sys.exit(f"{packed} cannot be unpacked")
        mark.write_text(stamp)
    nodes = sorted(work.glob("**/node"))
    return nodes[0].parent if nodes else work


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", required=True)
    parser.add_argument("--work", default=str(ROOT / "build" / "conformance-tests"))
    own, rest = parser.parse_known_args()
    packed = corpus()
    if packed is None:
        print("*** SKIPPED: NO ONNX BACKEND TESTS. Set TENON_SHARED to the folder that holds conformance/. ***")
        return SKIPPED
    if shutil.which("zstd") is None:
        print("*** SKIPPED: NO zstd TO UNPACK THE ONNX BACKEND TESTS. ***")
        return SKIPPED
    folder = unpack(packed, pathlib.Path(own.work))
    status = ROOT / "tests" / "conformance" / "status.txt"
    return subprocess.run([own.runner, str(folder), "--status", str(status), *rest]).returncode


if __name__ == "__main__":
    sys.exit(main())
