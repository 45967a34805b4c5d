"""Times the layers that `qkernel_bench --list` prints (on standard input) in ONNX Runtime, one node a model.

QLinearConv runs channels-last (the com.microsoft form), as the optimised graphs of ONNX Runtime do, so that no
transposition is timed; MatMulInteger as it is; with --conv-integer, convolutions run as ConvInteger (channels first).
"""
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def session(nodes, inputs, outputs, constants, threads):
    graph = helper.make_graph(nodes, "one", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def conv(size, cin, cout, kernel, stride, groups, threads, integer):
    rng = np.random.default_rng(1)
    weights = constant("w", rng.integers(-128, 128, (cout, cin // groups, kernel, kernel), np.int8))
    attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": groups}
    zero = constant("xz", np.uint8(120))
    if integer:
        shape = [1, cin, size, size]
        node = helper.make_node("ConvInteger", ["x", "w", "xz"], ["y"], **attributes)
        s = session([node], [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
                    [helper.make_tensor_value_info("y", TensorProto.INT32, None)], [weights, zero], threads)
    else:
        shape = [1, size, size, cin]
        names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
        node = helper.make_node("QLinearConv", names, ["y"], domain="com.microsoft", channels_last=1, **attributes)
        constants = [weights, zero, constant("xs", np.float32(1)), constant("ws", np.float32(0.001)), constant("wz", np.int8(0)),
                     constant("ys", np.float32(1)), constant("yz", np.uint8(128))]
        s = session([node], [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
                    [helper.make_tensor_value_info("y", TensorProto.UINT8, None)], constants, threads)
    return s, rng.integers(0, 256, shape, np.uint8)


def gemm(m, n, k, threads):
    rng = np.random.default_rng(1)
    constants = [constant("b", rng.integers(-128, 128, (k, n), np.int8)), constant("az", np.uint8(120))]
    node = helper.make_node("MatMulInteger", ["x", "b", "az"], ["y"])
    s = session([node], [helper.make_tensor_value_info("x", TensorProto.UINT8, [m, k])],
                [helper.make_tensor_value_info("y", TensorProto.INT32, [m, n])], constants, threads)
    return s, rng.integers(0, 256, (m, k), np.uint8)


def best(s, x):
    binding = s.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y")
    fastest, start = 1e9, time.perf_counter()
    for i in range(2000):
        if i >= 20 and time.perf_counter() - start > 0.15:
            break
        t = time.perf_counter()
        s.run_with_iobinding(binding)
        fastest = min(fastest, time.perf_counter() - t)
    return fastest


def main():
    integer = "--conv-integer" in sys.argv
    totals = {}
    for line in sys.stdin:
        kind, *rest = line.split()
        times = []
        for threads in (1, 2):
            if kind == "conv":
                size, cin, cout, kernel, stride, groups, count = map(int, rest[1:])
                times.append(best(*conv(size, cin, cout, kernel, stride, groups, threads, integer)))
                totals[rest[0], threads] = totals.get((rest[0], threads), 0) + count * times[-1]
            elif not integer:
                times.append(best(*gemm(*map(int, rest), threads)))
        if times:
            print(kind, *(rest[:-1] if kind == "conv" else rest), "|", " | ".join(f"{t * 1e6:.1f} us" for t in times), flush=True)
    for (net, threads), total in totals.items():
        print(f"{net} layers with their counts, {threads} threads: {total * 1e3:.3f} ms")


main()
