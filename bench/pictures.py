"""Pictures to network inputs, and boxes back: the pre- and post-processing that the scripts of this folder share.

Written with numpy and Pillow only, so that every engine under comparison is fed the same numbers.
"""
import numpy as np
from PIL import Image

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def load(path):
    return Image.open(path).convert("RGB")


def letterbox(image, size, fill=114, center=True):
    """Scales to fit a square of `size` and pads. Returns HWC uint8 RGB, the scale and the (left, top) padding."""
    scale = min(size / image.width, size / image.height)
    w, h = round(image.width * scale), round(image.height * scale)
    left, top = ((size - w) // 2, (size - h) // 2) if center else (0, 0)
    out = np.full((size, size, 3), fill, np.uint8)
    out[top:top + h, left:left + w] = np.asarray(image.resize((w, h), Image.BILINEAR))
    return out, scale, (left, top)


def stretch(image, width, height):
    return np.asarray(image.resize((width, height), Image.BILINEAR))


def nchw(hwc, mean=0.0, scale=1.0, bgr=False, dtype=np.float32):
    """HWC uint8 to 1CHW, (x - mean) * scale by channel (mean and scale in the output's channel order)."""
    x = hwc[:, :, ::-1] if bgr else hwc
    x = (x.astype(np.float32) - np.asarray(mean, np.float32)) * np.asarray(scale, np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None]).astype(dtype)


def imagenet_rgb(hwc):
    """torchvision's normalisation."""
    return nchw(hwc, IMAGENET_MEAN * 255, 1 / (IMAGENET_STD * 255))


def yolo_input(image, size):
    """Ultralytics: letterbox with grey 114, RGB, 0..1."""
    boxed, scale, pad = letterbox(image, size)
    return nchw(boxed, scale=1 / 255), scale, pad


def iou(box, boxes):
    """Intersection over union of one xyxy box with many."""
    wh = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None)
    inter = wh[:, 0] * wh[:, 1]
    area = lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return inter / np.maximum(area(box) + area(boxes) - inter, 1e-12)


def nms(boxes, scores, classes, threshold):
    """Class-aware greedy suppression; returns the kept indices, best first."""
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(first)
        same = classes[rest] == classes[first]
        order = rest[~(same & (iou(boxes[first], boxes[rest]) > threshold))]
    return np.array(kept, int)


def decode_yolov8(output, scale, pad, score=0.25, overlap=0.7, limit=300):
    """A [1, 4 + classes, anchors] head to rows (x1, y1, x2, y2, score, class) in the picture's pixels."""
    rows = output[0].T.astype(np.float64)
    scores, classes = rows[:, 4:].max(1), rows[:, 4:].argmax(1)
    rows, scores, classes = rows[scores > score], scores[scores > score], classes[scores > score]
    xy, wh = rows[:, :2], rows[:, 2:4]
    boxes = np.concatenate([xy - wh / 2, xy + wh / 2], 1)
    boxes = (boxes - np.array([*pad, *pad])) / scale
    keep = nms(boxes, scores, classes, overlap)[:limit]
    return np.concatenate([boxes[keep], scores[keep, None], classes[keep, None]], 1)


def average_precision(found, truth, thresholds=np.arange(0.5, 0.96, 0.05)):
    """mAP over the classes present. `found` and `truth`: lists by picture of rows (x1, y1, x2, y2, score, class) and
    (x1, y1, x2, y2, class). 101-point interpolation, as COCO does. Returns (mAP50, mAP50-95)."""
    classes = sorted({int(row[4]) for rows in truth for row in rows})
    table = np.zeros((len(classes), len(thresholds)))
    for c, cls in enumerate(classes):
        rows = [(row[4], i, row[:4]) for i, rs in enumerate(found) for row in rs if int(row[5]) == cls]
        rows.sort(key=lambda r: -r[0])
        boxes = [np.array([r[:4] for r in rs if int(r[4]) == cls]).reshape(-1, 4) for rs in truth]
        total = sum(map(len, boxes))
        for t, threshold in enumerate(thresholds):
            used = [np.zeros(len(b), bool) for b in boxes]
            hits = np.zeros(len(rows))
            for k, (_, i, box) in enumerate(rows):
                overlap = np.where(used[i], -1, iou(box, boxes[i])) if len(boxes[i]) else np.zeros(0)
                if overlap.size and overlap.max() >= threshold:
                    used[i][overlap.argmax()] = True
                    hits[k] = 1
            tp = np.cumsum(hits)
            recall, precision = tp / total, tp / np.arange(1, len(rows) + 1)
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            at = np.searchsorted(recall, np.linspace(0, 1, 101))
            table[c, t] = np.mean([precision[a] if a < len(precision) else 0.0 for a in at])
    return float(table[:, 0].mean()), float(table.mean())
