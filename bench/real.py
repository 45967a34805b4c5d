"""Real inputs, real results: top-1 on pictures, a word read, objects found. One command prints them:

    python bench/real.py [--tenon PATH] [--engine ort] [--json] [CHECK ...]

Each line shows the figure, what it must be, and where that comes from: ONNX Runtime's results on the same files with
this pre- and post-processing (regression values, not claims about accuracy: some pictures may be training data).
"""
import argparse
import json
import sys
import time

import numpy as np

import engines
import inputs
import pictures as pic


def top1(engine, model, name, batches, labels):
    """Percent of right answers over a sequence of batches."""
    batches = iter(batches)
    first = next(batches)
    loaded = engine.load(inputs.model_path(model), {name: first})
    hits = []
    for batch in [first, *batches]:
        (output,) = engine.run(loaded, {name: batch}).values()
        hits.append(output.reshape(len(batch), -1).astype(np.float32).argmax(1))
    return 100 * float((np.concatenate(hits) == labels).mean())


def imagenet_files():
    files = sorted(inputs._data("imagenet-1000").glob("*.jpg"))
    return files, np.array([int(f.name[:4]) for f in files])


def mobilenetv2(engine):
    files, labels = imagenet_files()
    batches = (np.concatenate([pic.imagenet_rgb(np.asarray(pic.load(f))) for f in files[i:i + 100]])
               for i in range(0, len(files), 100))
    got = top1(engine, "mobilenetv2-fp32-224", "input", batches, labels)
    return f"{got:.1f} % top-1 of 1,000", abs(got - 82.4) <= 0.1001, "82.4 % +- 0.1"


def squeezenet(engine):
    files, labels = imagenet_files()
    batches = (pic.nchw(np.asarray(pic.load(f)), [104, 117, 123], bgr=True, dtype=np.float16) for f in files)
    got = top1(engine, "squeezenet1.0-fp16-224", "data_0", batches, labels)
    # ONNX Runtime gives 60.0 % on these numbers, in fp16 and with the weights widened to fp32 alike.
    return f"{got:.1f} % top-1 of 1,000", abs(got - 60.0) <= 0.2001, "60.0 % +- 0.2"


def resnet20(engine):
    x, labels = inputs.cifar(500)
    got = top1(engine, "resnet20-cifar10", "input.1", (x[i:i + 1] for i in range(500)), labels)
    return f"{got:.1f} % top-1 of 500", abs(got - 83.8) <= 0.1001, "83.8 % +- 0.1"


def mnist(engine):
    x, labels = inputs.mnist(1000)
    got = top1(engine, "mnist-cntk", "Input3", (x[i:i + 1] for i in range(1000)), labels)
    return f"{got:.1f} % top-1 of 1,000", abs(got - 98.7) <= 0.1001, "98.7 % +- 0.1"


def read_word(output, keys):
    """Greedy CTC: repeats and blanks (index 0) removed."""
    best = output[0].argmax(1)
    return "".join(keys[b - 1] if b <= len(keys) else " " for b, before in zip(best, [0, *best]) if b and b != before)


def ppocr(engine):
    keys = inputs._data("ppocr_keys_v1.txt").read_text(encoding="utf-8").split("\n")
    keys = keys[:-1] if not keys[-1] else keys
    feed = {"x": inputs.ppocr_rec_input(inputs._data("rec-word.png"), 320)}
    (output,) = engine.run(engine.load(inputs.model_path("ppocr-v4-rec"), feed), feed).values()
    word = read_word(output, keys)
    return f"reads {word!r}", word == "JOINT", "JOINT"


def detect(engine, loaded, image, **options):
    x, scale, pad = pic.yolo_input(image, 640)
    (output,) = engine.run(loaded, {"images": x}).values()
    return pic.decode_yolov8(output, scale, pad, **options)


def load_yolo(engine):
    return engine.load(inputs.model_path("yolov8n-fp32-640"), {"images": np.zeros((1, 3, 640, 640), np.float32)})


def bus(engine):
    rows = detect(engine, load_yolo(engine), pic.load(inputs._data("images", "bus.jpg")), score=0.5)
    names = {0: "person", 5: "bus"}
    found = [(names.get(int(r[5]), str(int(r[5]))), round(float(r[4]), 2)) for r in rows]
    want = [("person", 0.93), ("person", 0.91), ("person", 0.91), ("bus", 0.87)]
    close = len(found) == 4 and all(f[0] == w[0] and abs(f[1] - w[1]) < 0.0101 for f, w in zip(sorted(found), sorted(want)))
    return ", ".join(f"{n} {s:.2f}" for n, s in found), close, "bus 0.87, person 0.93, 0.91, 0.91"


def coco8_truth():
    for split in ("train", "val"):
        for path in sorted(inputs._data("coco8", "images", split).glob("*.jpg")):
            image = pic.load(path)
            rows = np.loadtxt(inputs._data("coco8", "labels", split, path.stem + ".txt"), ndmin=2)
            xy, wh, size = rows[:, 1:3], rows[:, 3:5], np.array([image.width, image.height])
            yield image, np.concatenate([(xy - wh / 2) * size, (xy + wh / 2) * size, rows[:, :1]], 1)


def coco8_map(engine):
    loaded = load_yolo(engine)
    images, truth = zip(*coco8_truth())
    found = [detect(engine, loaded, image, score=0.001) for image in images]
    return pic.average_precision(found, truth)


def coco8(engine):
    got = coco8_map(engine)
    want = got if isinstance(engine, engines.Ort) else coco8_map(engines.Ort())
    same = max(abs(a - b) for a, b in zip(got, want)) <= 0.001 and got[0] > 0.5
    return (f"mAP50 {got[0]:.4f}, mAP50-95 {got[1]:.4f} on 8 pictures", same,
            f"ONNX Runtime {want[0]:.4f}, {want[1]:.4f} +- 0.001")


CHECKS = {
    "mobilenetv2-fp32-224": mobilenetv2,
    "squeezenet1.0-fp16-224": squeezenet,
    "resnet20-cifar10": resnet20,
    "mnist-cntk": mnist,
    "ppocr-v4-rec": ppocr,
    "yolov8n-fp32-640 bus.jpg": bus,
    "yolov8n-fp32-640 coco8": coco8,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="parts of names; default all: " + ", ".join(CHECKS))
    parser.add_argument("--tenon", help="the binary; default build/release/tenon")
    parser.add_argument("--engine", choices=["tenon", "ort"], default="tenon")
    parser.add_argument("--build-args", default="", help="further arguments for `tenon build`")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the lines")
    args = parser.parse_args()
    if inputs.shared_root() is None:
        sys.exit("no shared models: set TENON_SHARED to the folder that holds models/ and data/")
    engine = engines.Ort() if args.engine == "ort" else engines.Tenon(engines.find_tenon(args.tenon), args.build_args.split())
    rows = []
    for name, check in CHECKS.items():
        if args.checks and not any(c in name for c in args.checks):
            continue
        start = time.monotonic()
        try:
            result, ok, wanted = check(engine)
        except engines.EngineError as e:
            result, ok, wanted = str(e), False, ""
        rows.append({"check": name, "result": result, "wanted": wanted, "pass": bool(ok), "seconds": round(time.monotonic() - start, 1)})
        if not args.json:
            print(f"{'PASS' if ok else 'FAIL'}  {name:26} {result:58} (wanted: {wanted}; {rows[-1]['seconds']} s)", flush=True)
    failed = sum(not r["pass"] for r in rows)
    if args.json:
        print(json.dumps({"engine": engine.name, "rows": rows, "failed": failed}, indent=1))
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
