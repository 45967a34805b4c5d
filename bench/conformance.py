"""The official ONNX backend tests: Tenon and ONNX Runtime on the same corpus, one table.

    python bench/conformance.py FOLDER [--runner build/release/conformance] [--json]

FOLDER holds node/, simple/, pytorch-converted/, pytorch-operator/ and light/ (tests/conformance/run.py unpacks it). Both are
compared by the official rule: same types and shapes, rtol 1e-3, atol 1e-7 (bfloat16: 2^-6). Tenon counts a test only if it
passes in the interpreter and through optimiser and planner. ONNX Runtime runs in processes of its own, so that a crash costs
one test; tests whose inputs its Python interface cannot take (sub-byte types) are counted apart. Needs onnx, onnxruntime.
"""
import argparse
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNNER = ROOT / "build/release/conformance"
OUTCOMES = ["passed", "wrong values", "refused", "crashed", "cannot be fed"]


class NotFed(Exception):
    pass


def load(path, value_info):
    """A test's value as numpy array, list, or None for an empty optional."""
    import onnx
    from onnx import numpy_helper
    kind = value_info.type.WhichOneof("value")
    data = path.read_bytes()
    if kind == "sequence_type":
        sequence = onnx.SequenceProto()
        sequence.ParseFromString(data)
        return numpy_helper.to_list(sequence)
    if kind == "optional_type":
        optional = onnx.OptionalProto()
        optional.ParseFromString(data)
        return numpy_helper.to_optional(optional)
    tensor = onnx.TensorProto()
    tensor.ParseFromString(data)
    return numpy_helper.to_array(tensor)


def to_ort(value, element_type):
    """An OrtValue, or what `run` takes directly (lists, None)."""
    import numpy as np
    import onnxruntime as ort
    if value is None or isinstance(value, list):
        return value
    if value.dtype.kind in "OUS" or value.dtype.name in np.sctypeDict and value.dtype.kind in "biuf":
        return ort.OrtValue.ortvalue_from_numpy(np.array(value, order="C"))
    if value.dtype.itemsize == 2:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.array(value, order="C").view(np.uint16), element_type)
    if "float8" in value.dtype.name:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.array(value, order="C").view(np.uint8), element_type)
    raise NotFed(value.dtype.name)


def from_ort(value):
    import numpy as np
    from onnx import helper
    if value.is_tensor() and not value.is_sparse_tensor():
        try:
            wide = helper.tensor_dtype_to_np_dtype(value.element_type())
        except (KeyError, AttributeError, RuntimeError):
            return value.numpy()
        if wide.kind in "OUS" or wide.kind in "biuf" and wide.name in np.sctypeDict:
            return value.numpy()
        count = int(np.prod(value.shape(), dtype=np.int64))
        if "4" in wide.name.replace("float4", "4") and wide.itemsize == 1 and "float8" not in wide.name:
            raise NotFed(wide.name)
        data = ctypes.string_at(value.data_ptr(), count * wide.itemsize)
        return np.frombuffer(data, wide).reshape(value.shape())
    return value.numpy() if value.is_tensor() else None


def same(wanted, got):
    import numpy as np
    if wanted is None or got is None:
        return wanted is None and got is None
    if isinstance(wanted, list):
        return isinstance(got, list) and len(wanted) == len(got) and all(same(a, b) for a, b in zip(wanted, got))
    wanted, got = np.asarray(wanted), np.asarray(got)
    if wanted.shape != got.shape:
        return False
    if wanted.dtype.kind in "OUS":
        text = [x.decode() if isinstance(x, bytes) else str(x) for x in wanted.ravel()]
        return text == [x.decode() if isinstance(x, bytes) else str(x) for x in got.ravel()]
    if wanted.dtype != got.dtype:
        return False
    rtol = 2 ** -6 if wanted.dtype.name == "bfloat16" else 1e-3
    if wanted.dtype.kind not in "biufc":
        wanted, got = wanted.astype(np.float32), got.astype(np.float32)
    return bool(np.allclose(got, wanted, rtol=rtol, atol=1e-7, equal_nan=True))


def data_sets(test, model):
    """Yields (inputs, wanted outputs) as lists."""
    import numpy as np
    initializers = {t.name for t in model.graph.initializer}
    fed = [v for v in model.graph.input if v.name not in initializers]
    if test.suffix == ".onnx":
        dims = [d.dim_value if d.HasField("dim_value") else 1 for d in fed[0].type.tensor_type.shape.dim]
        count = int(np.prod(dims))
        wanted = load(test.with_name(test.stem + "_output_0.pb"), model.graph.output[0])
        yield [((np.arange(count).reshape(dims) / count).astype(np.float32))], [wanted]
        return
    for folder in sorted(test.glob("test_data_set_*")):
        def read(stem, values):
            out = []
            for i, v in enumerate(values):
                if not (folder / f"{stem}_{i}.pb").exists():
                    break
                out.append(load(folder / f"{stem}_{i}.pb", v))
            return out
        yield read("input", fed), read("output", model.graph.output)


def run_ort(test):
    """(outcome, reason) of one test in ONNX Runtime."""
    import onnx
    import onnxruntime as ort
    ort.set_default_logger_severity(4)
    path = test if test.suffix == ".onnx" else test / "model.onnx"
    model = onnx.load(path)
    initializers = {t.name for t in model.graph.initializer}
    fed = [v for v in model.graph.input if v.name not in initializers]
    try:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for inputs, wanted in data_sets(test, model):
            names = [o.name for o in session.get_outputs()]
            values = {v.name: to_ort(x, v.type.tensor_type.elem_type) for v, x in zip(fed, inputs)}
            plain = all(isinstance(v, ort.OrtValue) for v in values.values())
            tensors = all(o.type.WhichOneof("value") == "tensor_type" for o in model.graph.output)
            if plain and tensors:
                got = [from_ort(v) for v in session.run_with_ort_values(names, values)]
            else:
                got = session.run(names, {v.name: x for v, x in zip(fed, inputs)})
            if not all(same(w, g) for w, g in zip(wanted, got)):
                return "wrong values", ""
    except NotFed as e:
        return "cannot be fed", str(e)
    except Exception as e:  # whatever ONNX Runtime raises
        return "refused", str(e).splitlines()[0][:200] if str(e) else type(e).__name__
    return "passed", ""


def worker(listing):
    for line in pathlib.Path(listing).read_text().splitlines():
        print(json.dumps({"start": line}), flush=True)
        outcome, reason = run_ort(pathlib.Path(line))
        print(json.dumps({"done": line, "outcome": outcome, "reason": reason}), flush=True)


def run_all_ort(tests):
    left, results = [str(t) for t in tests], {}
    while left:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as listing:
            listing.write("\n".join(left))
            listing.flush()
            process = subprocess.run([sys.executable, __file__, "--worker", listing.name], capture_output=True, text=True)
        current = None
        for line in process.stdout.splitlines():
            if not line.startswith("{"):
                continue
            message = json.loads(line)
            current = message.get("start")
            if "done" in message:
                results[message["done"]] = (message["outcome"], message["reason"])
        if current is None and len(results) < len(tests) and not process.stdout:
            sys.exit(process.stderr[-2000:])
        if current is not None:
            results[current] = ("crashed", f"exit code {process.returncode}")
        left = [t for t in left if t not in results]
    return results


def find_tests(folder):
    parts = {}
    for part in sorted(p for p in folder.iterdir() if p.is_dir()):
        tests = [p for p in sorted(part.iterdir()) if (p / "model.onnx").exists() or p.suffix == ".onnx"]
        if tests:
            parts[part.name] = tests
    return parts


def main():
    if sys.argv[1:2] == ["--worker"]:
        return worker(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--runner", default=RUNNER)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        subprocess.run([args.runner, args.folder, "--json", report.name], check=True, stdout=subprocess.DEVNULL)
        tenon = json.loads(pathlib.Path(report.name).read_text())
    parts = find_tests(args.folder)
    results = run_all_ort([t for tests in parts.values() for t in tests])
    if args.json:
        print(json.dumps({"tenon": tenon, "ort": results}, indent=1))
        return None
    import onnxruntime
    columns = ["Tenon"] + ["ORT " + o for o in OUTCOMES]
    print(f"ONNX Runtime {onnxruntime.__version__}, CPU")
    print(f"{'part':<20}{'tests':>7}" + "".join(f"{c:>19}" for c in columns))
    totals = [0] * (len(columns) + 1)
    for part, tests in parts.items():
        outcomes = [results[str(t)][0] for t in tests]
        row = [len(tests), tenon[part]["both"]] + [outcomes.count(o) for o in OUTCOMES]
        totals = [a + b for a, b in zip(totals, row)]
        print(f"{part:<20}{row[0]:>7}" + "".join(f"{n:>19}" for n in row[1:]))
    print(f"{'all':<20}{totals[0]:>7}" + "".join(f"{n:>19}" for n in totals[1:]))
    return None


if __name__ == "__main__":
    sys.exit(main())
