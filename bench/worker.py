"""One peer in a process of its own, so that its memory can be read: `python worker.py ENGINE MODEL NPZ THREADS`.

Talks JSON lines: after loading it says what it is; for each line "SECONDS" on stdin it warms up, runs for that long (at
least three times) and answers with the times; at the end of stdin it leaves. Started by timing.py, not by hand.
"""
import json
import resource
import sys
import time

from feeds import read_feed


def model_source(path, feed):
    """The path, or, where the file declares fixed dims other than the feed's, its bytes with the feed's dims."""
    import onnx_shapes
    data = open(path, "rb").read()
    patched = onnx_shapes.with_input_shapes(data, {k: v.shape for k, v in feed.items() if not isinstance(v, dict)})
    return path if patched == data else patched


def ort(path, feed, threads):
    import onnxruntime
    yield f"ONNX Runtime {onnxruntime.__version__}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model_source(path, feed), options, providers=["CPUExecutionProvider"])
    if any(isinstance(v, dict) for v in feed.values()):
        yield lambda: session.run(None, feed)
    binding = session.io_binding()
    for name, value in feed.items():
        binding.bind_cpu_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    yield lambda: session.run_with_iobinding(binding)


def openvino(path, feed, threads):
    import openvino as ov
    yield f"OpenVINO {ov.__version__.split('-')[0]}"
    core = ov.Core()
    source = model_source(path, feed)
    model = core.read_model(source) if isinstance(source, str) else core.read_model(source, b"")
    ports = {name: port for port in model.inputs for name in port.get_names()}
    model.reshape({ports[name]: list(value.shape) for name, value in feed.items()})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads,
                                                 "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    for name, value in feed.items():
        request.set_tensor(name, ov.Tensor(value, shared_memory=True))
    yield lambda: request.infer()


def say(**what):
    print(json.dumps(what), flush=True)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    engine, path, npz, threads = sys.argv[1:]
    try:
        feed = read_feed(npz)
        steps = {"ort": ort, "openvino": openvino}[engine](path, feed, int(threads))
        name = next(steps)
        bare, start = peak(), time.perf_counter()
        run = next(steps)
        load = time.perf_counter() - start
        run()
    except Exception as e:  # whatever a peer raises is its answer
        words = " ".join(str(e).split())[:300]
        say(error=f"{type(e).__name__}: {words}")
        return
    say(name=name, load_s=load, import_bytes=bare)
    for line in sys.stdin:
        seconds = float(line)
        cpu, begin = time.process_time(), time.perf_counter()
        while time.perf_counter() - begin < min(0.1, seconds / 4):
            run()
        times, begin_timed = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin_timed < seconds:
            t = time.perf_counter()
            run()
            times.append(time.perf_counter() - t)
        say(min=min(times) * 1e3, median=sorted(times)[len(times) // 2] * 1e3, runs=len(times),
            cpu_s=time.process_time() - cpu, wall_s=time.perf_counter() - begin, peak_bytes=peak())


if __name__ == "__main__":
    main()
