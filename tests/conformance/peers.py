"""Operators that the official tests leave out, with ONNX Runtime as the judge: ai.onnx.ml and com.microsoft.

    python tests/conformance/peers.py --runner build/release/conformance [--keep FOLDER] [--verbose]

Each case is one operator with attributes and inputs; ONNX Runtime's outputs are written as a test folder like the official
ones, and the runner takes them through interpreter and planner. Cases that ONNX Runtime itself refuses are an error of this
list. Needs onnx, onnxruntime and numpy, in this Python or the one that TENON_PYTHON names; exit code 77 (skipped, with the reason in capitals) without them.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import helper, numpy_helper
except ImportError as e:
    for other in (os.environ.get("TENON_PYTHON"), ROOT / ".cache" / "peers-venv" / "bin" / "python"):
        if other and pathlib.Path(other).exists() and pathlib.Path(other).resolve().parent != pathlib.Path(sys.executable).parent \
                and "TENON_TRIED" not in os.environ:
            os.environ["TENON_TRIED"] = "1"
            os.execv(str(other), [str(other), *sys.argv])
    print(f"*** SKIPPED: NO PYTHON WITH ONNX AND ONNXRUNTIME ({e}). ***")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import peer_cases  # noqa: E402


def make_model(case):
    given = [(f"x{i}", x) for i, x in enumerate(case.inputs)]
    outputs = [f"y{i}" if i in case.wanted else "" for i in range(max(case.wanted) + 1)]
    node = helper.make_node(case.op, ["" if x is None else n for n, x in given], outputs, domain=case.domain, **case.attrs)
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in given if x is not None]
    constants = [i for i in case.constants]
    initializers = [numpy_helper.from_array(case.inputs[i], f"x{i}") for i in constants]
    infos = [v for v in infos if v.name not in {f"x{i}" for i in constants}]
    outs = [onnx.ValueInfoProto(name=n) for n in outputs if n]
    graph = helper.make_graph([node], case.name, infos, outs, initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def write(case, folder):
    """Writes the test; what ONNX Runtime says against it, or nothing."""
    model = make_model(case)
    fed = {f"x{i}": x for i, x in enumerate(case.inputs) if x is not None and i not in case.constants}
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        outputs = case.expected or ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, fed)
    except Exception as e:  # whatever ONNX Runtime raises
        return str(e).splitlines()[0]
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    for stem, values in (("input", fed.values()), ("output", outputs)):
        for i, x in enumerate(values):
            (data / f"{stem}_{i}.pb").write_bytes(numpy_helper.from_array(np.asarray(x)).SerializeToString())
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", required=True)
    parser.add_argument("--keep", help="write the tests here and leave them")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(args.keep or scratch)
        cases = peer_cases.all_cases()
        refused = 0
        for case in cases:
            error = write(case, root / (case.domain or "onnx").replace(".", "_") / case.name)
            if error:
                print(f"ONNX Runtime refuses {case.name}: {error}")
                refused += 1
        report = root / "report.json"
        command = [args.runner, str(root), "--json", str(report)] + (["--verbose"] if args.verbose else [])
        print(subprocess.run(command, capture_output=True, text=True).stdout)
        tally = json.loads(report.read_text())
    both = sum(part["both"] for part in tally.values())
    print(f"{both} of {len(cases)} cases agree with ONNX Runtime {ort.__version__}")
    return 0 if both == len(cases) and not refused else 1


if __name__ == "__main__":
    sys.exit(main())
