"""Deterministic, valid inputs for the shared models: what accuracy.py and speed.py feed to every engine.

    python bench/inputs.py                      lists the models, their sizes and inputs
    python bench/inputs.py MODEL --out DIR      writes DIR/MODEL.SIZE.npz for each size

Ids lie within the vocabularies, masks are 0 or 1, vision models see pictures prepared as their authors do (an int8
detector on noise says nothing), recurrent states are those of a running stream. Models with dynamic dims come in two or
more sizes. A map input (ml-pipeline) is written to .npz as two arrays, NAME.keys and NAME.values.
"""
import argparse
import os
import pathlib
import sys

import numpy as np
from PIL import Image

import pictures as pic
from feeds import batch_of, save_npz  # noqa: F401  (part of what this module offers)


def shared_root():
    """The folder with models/ and data/: $TENON_SHARED, or `shared` beside a parent of the repository; None without."""
    here = pathlib.Path(__file__).resolve()
    candidates = [pathlib.Path(os.environ["TENON_SHARED"])] if "TENON_SHARED" in os.environ else \
        [p / "shared" for p in here.parents]
    return next((c for c in candidates if (c / "models").is_dir()), None)


def model_path(name):
    return shared_root() / "models" / f"{name}.onnx"


def _data(*parts):
    return shared_root().joinpath("data", *parts)


def _rng(seed):
    return np.random.default_rng(seed)


def _normal(seed, *shape, scale=1.0):
    return (_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def _yolo(size, name="images"):
    return {"bus": {name: pic.yolo_input(pic.load(_data("images", "bus.jpg")), size)[0]}}


def _imagenet(count, skip=0):
    files = sorted(_data("imagenet-1000").glob("*.jpg"))[skip::37][:count]
    return np.concatenate([pic.imagenet_rgb(np.asarray(pic.load(f))) for f in files])


def yolox():
    boxed, _, _ = pic.letterbox(pic.load(_data("images", "dog.jpg")), 416, center=False)
    return {"dog": {"images": pic.nchw(boxed, bgr=True)}}


def nanodet():
    x = pic.stretch(pic.load(_data("images", "bus.jpg")), 320, 320)
    return {"bus": {"input.1": pic.nchw(x, [103.53, 116.28, 123.675], 1 / np.array([57.375, 57.12, 58.395]), bgr=True)}}


def picodet():
    return {"bus": {"image": pic.imagenet_rgb(pic.stretch(pic.load(_data("images", "bus.jpg")), 320, 320))}}


def mobilenetv2():
    return {"b1": {"input": _imagenet(1)}, "b3": {"input": _imagenet(3, skip=5)}}


def mobilenetv4():
    pixels = lambda w, h, names: np.concatenate(
        [pic.nchw(pic.stretch(pic.load(_data("images", n)), w, h), dtype=np.uint8) for n in names])
    return {"b1-224x224": {"input_u8": pixels(224, 224, ["eagle.jpg"])},
            "b2-192x256": {"input_u8": pixels(256, 192, ["giraffe.jpg", "horses.jpg"])}}


def squeezenet():
    image = np.asarray(pic.load(sorted(_data("imagenet-1000").glob("0285*.jpg"))[0]))
    return {"cat": {"data_0": pic.nchw(image, [104, 117, 123], bgr=True, dtype=np.float16)}}


def cifar(count, skip=0):
    """Pictures as ResNet-20 wants them (RGB, the usual CIFAR mean and std) and their labels."""
    raw = np.fromfile(_data("cifar10-test-2000.bin"), np.uint8).reshape(-1, 3073)[skip:skip + count]
    x = raw[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    mean, std = np.array([[0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]], np.float32)
    return (x - mean[:, None, None]) / std[:, None, None], raw[:, 0]


def mnist(count):
    import gzip
    with gzip.open(_data("mnist", "t10k-images-idx3-ubyte.gz")) as f:
        x = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:count].astype(np.float32)
    with gzip.open(_data("mnist", "t10k-labels-idx1-ubyte.gz")) as f:
        return x, np.frombuffer(f.read(), np.uint8, offset=8)[:count]


def deeplab():
    x = pic.stretch(pic.load(_data("images", "horses.jpg")), 257, 257)
    return {"horses": {"sub_7": (x.astype(np.float32) / 127.5 - 1)[None]}}


def candy():
    return {"zidane": {"input.1": pic.nchw(pic.stretch(pic.load(_data("images", "zidane.jpg")), 256, 256))}}


def superres():
    y = np.asarray(pic.load(_data("images", "kite.jpg")).resize((224, 224)).convert("YCbCr"))[:, :, 0]
    return {"kite": {"input": (y.astype(np.float32) / 255)[None, None]}}


def ultraface():
    x = pic.stretch(pic.load(_data("faces", "faces.jpg")), 320, 240)
    return {"faces": {"input": pic.nchw(x, 127, 1 / 128)}}


def mobilefacenet():
    crop = pic.load(_data("images", "zidane.jpg")).crop((740, 60, 1120, 440))
    return {"face": {"input": pic.nchw(pic.stretch(crop, 112, 112), 127.5, 1 / 128)}}


def ppocr_det():
    """Pictures with text in them: without any, the output is 1e-5 everywhere and a comparison says nothing."""
    page = Image.new("RGB", (256, 160), (200, 200, 200))
    word, plate = pic.load(_data("rec-word.png")), pic.load(_data("plate.jpg"))
    for image, at in ((word, (20, 15)), (plate, (140, 70)), (word, (60, 110))):
        page.paste(image, at)
    other = page.transpose(Image.Transpose.FLIP_TOP_BOTTOM).rotate(180)
    bus = pic.load(_data("images", "bus.jpg"))
    return {"b1-320x320": {"x": pic.imagenet_rgb(pic.stretch(bus, 320, 320))},
            "b1-192x448": {"x": pic.imagenet_rgb(pic.stretch(bus.crop((0, 150, 810, 500)), 448, 192))},
            "b2-160x256": {"x": np.concatenate([pic.imagenet_rgb(np.asarray(p)) for p in (page, other)])}}


def ppocr_rec_input(path, width):
    """A word's picture at height 48, padded with zeros on the right."""
    image = pic.load(path)
    w = min(width, round(image.width * 48 / image.height))
    out = np.zeros((1, 3, 48, width), np.float32)
    out[..., :w] = pic.nchw(pic.stretch(image, w, 48), 127.5, 1 / 127.5, bgr=True)
    return out


def ppocr_rec():
    word, plate = _data("rec-word.png"), _data("plate.jpg")
    return {"b1-w320": {"x": ppocr_rec_input(word, 320)}, "b1-w161": {"x": ppocr_rec_input(word, 161)},
            "b2-w192": {"x": np.concatenate([ppocr_rec_input(word, 192), ppocr_rec_input(plate, 192)])}}


def nms_yolov8():
    def detections(seed, classes, anchors):
        """Boxes in clusters, as a detector gives them, with distinct scores and few above the threshold."""
        r = _rng(seed)
        centers = r.uniform(60, 580, (8, 4)) * [1, 1, 0.3, 0.4] + [0, 0, 20, 20]
        boxes = centers[r.integers(0, 8, anchors)] + r.normal(0, 6, (anchors, 4))
        scores = r.uniform(0, 0.05, (anchors, classes))
        scores[np.arange(0, anchors, 23), r.integers(0, classes, len(range(0, anchors, 23)))] = \
            r.uniform(0.2, 0.95, len(range(0, anchors, 23)))
        return np.concatenate([boxes, scores], 1).T[None].astype(np.float32).copy()
    config = np.array([100, 0.45, 0.25], np.float32)
    return {"80x8400": {"detection": detections(1, 80, 8400), "config": config},
            "5x300": {"detection": detections(2, 5, 300), "config": config}}


def _audio(count, seed, rate=16000):
    """A voiced sound with noise: harmonics of 140 Hz under a slow envelope."""
    t = np.arange(count) / rate
    tone = sum(np.sin(2 * np.pi * 140 * k * t + k) / k for k in range(1, 12))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)
    return (0.2 * tone * envelope + _rng(seed).normal(0, 0.01, count)).astype(np.float32)


def silero():
    chunk = lambda batch, samples, rate: np.stack([_audio(samples, 7 + b, rate) for b in range(batch)])
    feed = lambda batch, samples, rate, state: {
        "input": chunk(batch, samples, rate), "sr": np.array(rate, np.int64),
        "state": _normal(3, 2, batch, 128, scale=0.1) if state else np.zeros((2, batch, 128), np.float32)}
    return {"b1-16k": feed(1, 576, 16000, False), "b4-16k": feed(4, 576, 16000, True), "b1-8k": feed(1, 288, 8000, True)}


def dtln():
    frame = _audio(512, 5)
    return {"frame": {"input_2": np.abs(np.fft.rfft(frame)).astype(np.float32)[None, None],
                      "input_3": _normal(6, 1, 2, 128, 2, scale=0.3)}}


def gtcrn():
    spectrum = np.fft.rfft(_audio(512, 8) * np.sqrt(np.hanning(512)))
    return {"frame": {"mix": np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32).reshape(1, 257, 1, 2),
                      "conv_cache": _normal(9, 2, 1, 16, 16, 33, scale=0.2),
                      "tra_cache": _normal(10, 2, 3, 1, 1, 16, scale=0.2),
                      "inter_cache": _normal(11, 2, 1, 33, 16, scale=0.2)}}


def magika():
    text = (b"#include <stdio.h>\nint main(void) {\n  puts(\"hello\");\n  return 0;\n}\n" * 40)
    def features(data):
        """The first and last 1,024 bytes; 256 marks what the file does not have."""
        first, last = list(data[:1024]), list(data[-1024:])
        return first + [256] * (1024 - len(first)) + [256] * (1024 - len(last)) + last
    rows = [features(text), features(text[:100]), features(bytes(_rng(12).integers(0, 256, 3000, dtype=np.uint8)))]
    return {"b1": {"bytes": np.array(rows[:1], np.int32)}, "b3": {"bytes": np.array(rows, np.int32)}}


def lstm_workout():
    return {"b1": {"keras_tensor": _normal(13, 1, 10, 132, scale=0.5)}, "b5": {"keras_tensor": _normal(14, 5, 10, 132, scale=0.5)}}


def bert():
    def feed(seed, batch, length):
        r = _rng(seed)
        mask = (np.arange(length)[None] < r.integers(length // 2, length + 1, (batch, 1))).astype(np.int64)
        types = (np.arange(length)[None] >= length // 2).astype(np.int64) * np.ones((batch, 1), np.int64)
        return {"input_ids": r.integers(0, 99, (batch, length)), "token_type_ids": types, "input_mask": mask}
    return {"b1-s128": feed(15, 1, 128), "b3-s17": feed(16, 3, 17)}


def gpt2():
    def feed(seed, batch, past):
        return {"input_ids": _rng(seed).integers(-8, 8, (batch, 1)),
                **{f"past_{i}": _normal(100 + seed + i, 2, batch, 2, past, 2) for i in range(12)}}
    return {"b1-past3": feed(17, 1, 3), "b3-past7": feed(18, 3, 7)}


def tfbert():
    def feed(seed, batch):
        r = _rng(seed)
        mask = (np.arange(7)[None] < r.integers(3, 8, (batch, 1))).astype(np.int32)
        return {"attention_mask": mask, "input_ids": r.integers(0, 20, (batch, 7), dtype=np.int32),
                "token_type_ids": r.integers(0, 2, (batch, 7), dtype=np.int32)}
    return {"b1": feed(19, 1), "b4": feed(20, 4)}


def ddpm():
    return {"b8": {"input": _normal(21, 8, 1, 28, 28), "input.1": _rng(22).integers(0, 100, (8, 1))}}


def xgboost():
    return {"b1": {"X": _normal(23, 1, 30, scale=2)}, "b64": {"X": _normal(24, 64, 30, scale=2)}}


def ml_pipeline():
    full = {k: float(v) for k, v in zip(range(12), _rng(25).uniform(-2, 3, 12).astype(np.float32))}
    return {"full": {"float_input": full}, "sparse": {"float_input": {1: 0.5, 7: -1.25, 10: 3.0}}}


def scan():
    return {"t20": {"Input13165": _normal(26, 20, 1, 3)}, "t7": {"Input13165": _normal(27, 7, 1, 3)}}


# One line a model. Order: as in the table of accuracy.py.
MODELS = {
    "mobilenetv2-fp32-224": mobilenetv2,
    "mobilenetv2-int8dyn-224": mobilenetv2,
    "mobilenetv4s-qdq-qat": mobilenetv4,
    "squeezenet1.0-fp16-224": squeezenet,
    "resnet20-cifar10": lambda: {"one": {"input.1": cifar(1)[0]}},
    "mnist-cntk": lambda: {"one": {"Input3": mnist(1)[0]}},
    "yolov8n-fp32-640": lambda: _yolo(640),
    "yolov8n-int8dyn-640": lambda: _yolo(640),
    "yolov8n-qdq-640": lambda: _yolo(640),
    "yolov8n-qdq-broken-640": lambda: _yolo(640),
    "yolov8n-qop-broken-640": lambda: _yolo(640),
    "yolov8n-seg-int8dyn-320": lambda: _yolo(320),
    "yolo26n-int8dyn-640": lambda: _yolo(640),
    "yolov5n-fp16-640": lambda: _yolo(640),
    "yolox-nano-416": yolox,
    "nanodet-m-320": nanodet,
    "picodet-s-320": picodet,
    "nms-yolov8": nms_yolov8,
    "ultraface-rfb-320": ultraface,
    "mobilefacenet-112": mobilefacenet,
    "deeplabv3-mnv2-257": deeplab,
    "fns-candy-nc16-256": candy,
    "superres-espcn-224": superres,
    "ddpm-mnist-unet": ddpm,
    "ppocr-v3-det": ppocr_det,
    "ppocr-v4-rec": ppocr_rec,
    "silero-vad": silero,
    "dtln-1": dtln,
    "gtcrn": gtcrn,
    "magika-v3.3": magika,
    "lstm-workout": lstm_workout,
    "bert-toy": bert,
    "gpt2-tiny-past": gpt2,
    "tfbert-tiny-mrpc": tfbert,
    "scan-rnn": scan,
    "xgboost-fraud": xgboost,
    "ml-pipeline": ml_pipeline,
}


def cases(model):
    """{size: {input name: array, or dict for a map}} for a model of the shared folder."""
    made = MODELS[model]()
    return {size: {k: v if isinstance(v, dict) else np.asarray(v, order="C") for k, v in feed.items()}
            for size, feed in made.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*", choices=[[], *MODELS], default=[], metavar="MODEL")
    parser.add_argument("--out", type=pathlib.Path, help="write MODEL.SIZE.npz here")
    args = parser.parse_args()
    if shared_root() is None:
        sys.exit("no shared models: set TENON_SHARED to the folder that holds models/ and data/")
    for model in args.models or MODELS:
        for size, feed in cases(model).items():
            shown = ", ".join(f"{k} {{map of {len(v)}}}" if isinstance(v, dict) else f"{k} {v.dtype}{list(v.shape)}"
                              for k, v in feed.items())
            print(f"{model} {size}: {shown[:150]}")
            if args.out:
                args.out.mkdir(parents=True, exist_ok=True)
                save_npz(args.out / f"{model}.{size}.npz", feed)


if __name__ == "__main__":
    main()
