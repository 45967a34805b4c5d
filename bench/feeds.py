"""What goes into a model, {input name: array or dict for a map}, and its form as .npz. Needs numpy only."""
import numpy as np


def batch_of(feed):
    """How many items one run of this feed works on: the first dim of its first array."""
    first = next(iter(feed.values()))
    return 1 if isinstance(first, dict) or first.ndim == 0 else max(1, first.shape[0])


def save_npz(path, feed):
    """Arrays by input name; a map as NAME.keys and NAME.values."""
    flat = {}
    for name, value in feed.items():
        if isinstance(value, dict):
            keys = list(value)
            flat[f"{name}.keys"] = np.array(keys) if isinstance(keys[0], str) else np.array(keys, np.int64)
            flat[f"{name}.values"] = np.array(list(value.values()), np.float32)
        else:
            flat[name] = value
    with open(path, "wb") as f:
        np.savez(f, **flat)


def read_feed(path):
    """Arrays by name; NAME.keys and NAME.values make a map again."""
    with np.load(path) as arrays:
        flat = {name: arrays[name] for name in arrays.files}
    feed = {}
    for name, value in flat.items():
        if name.endswith(".keys") and f"{name[:-5]}.values" in flat:
            feed[name[:-5]] = {k: float(v) for k, v in zip(value.tolist(), flat[f"{name[:-5]}.values"])}
        elif not (name.endswith(".values") and f"{name[:-7]}.keys" in flat):
            feed[name] = value
    return feed
