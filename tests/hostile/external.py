"""X: external data. Paths that leave the model's folder, files that are none, sizes that lie."""
import os
import socket
import stat

import wire as w
from corpus import ANY, OK, RES, Case

SECRET = b"\x01" * 64


def held(location, extra=(), dims=(4,)):
    return w.tensor("k", w.FLOAT, list(dims), external=[("location", location), *extra])


def initializer(t):
    return w.model(w.graph([w.node("Add", ["x", "k"], ["y"])], [w.value("x", w.FLOAT, [4])], [w.value("y")], [t]))


def constant(t):
    return w.model(w.graph([w.node("Constant", [], ["k"], value=t), w.node("Add", ["x", "k"], ["y"])], [w.value("x", w.FLOAT, [4])], [w.value("y")]))


def sparse(t):
    s = w.blob(1, t) + w.blob(2, w.ints("ix", [0, 1, 2, 3])) + w.num(3, 4)
    return w.model(w.graph([w.node("Add", ["x", "k"], ["y"])], [w.value("x", w.FLOAT, [4])], [w.value("y")], sparse=[s]))


def in_branch(t):
    then = w.graph([w.node("Add", ["x", "k"], ["t"])], [], [w.value("t")], [t])
    other = w.graph([w.node("Relu", ["x"], ["t"])], [], [w.value("t")])
    return w.model(w.graph([w.node("If", ["c"], ["y"], then_branch=then, else_branch=other)], [w.value("x", w.FLOAT, [4])], [w.value("y")],
                           [w.tensor("c", w.BOOL, [], [1])]))


def in_function(t):
    f = w.function("F", ["a"], ["b"], [w.node("Constant", [], ["k"], value=t), w.node("Add", ["a", "k"], ["b"])])
    return w.model(w.graph([w.node("F", ["x"], ["y"], domain="f")], [w.value("x", w.FLOAT, [4])], [w.value("y")]), opsets=[("", 17), ("f", 1)], functions=[f])


def in_training_info(t):
    g = w.graph([w.node("Identity", ["k"], ["z"])], [], [w.value("z")], [t])
    return w.model(w.graph([w.node("Relu", ["x"], ["y"])], [w.value("x", w.FLOAT, [4])], [w.value("y")]), extra=w.blob(20, w.blob(1, g)))


def layout(prepare=None, make=initializer, location="data.bin", extra=(), dims=(4,), data=SECRET):
    """FOLDER/secret.bin outside, FOLDER/model/ with the model and data.bin inside."""
    def write(folder):
        (folder / "secret.bin").write_bytes(SECRET)
        home = folder / "model"
        home.mkdir()
        if data is not None:
            (home / "data.bin").write_bytes(data)
        place = location(folder) if callable(location) else location
        if prepare:
            prepare(folder, home)
        path = home / "model.onnx"
        path.write_bytes(make(held(place, extra, dims)))
        return path
    return write


def link(folder, home):
    (home / "link.bin").symlink_to(folder / "secret.bin")


def link_folder(folder, home):
    (folder / "outside").mkdir()
    (folder / "outside" / "data.bin").write_bytes(SECRET)
    (home / "sub").symlink_to(folder / "outside")


def hard_link(folder, home):
    os.link(folder / "secret.bin", home / "hard.bin")


def bind(folder, home):
    s = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(home)  # a socket's name is at most 107 bytes
    try:
        s.bind("socket.bin")
    finally:
        os.chdir(here)
        s.close()


def linked_model_folder(folder):
    path = layout()(folder)
    (folder / "alias").symlink_to(path.parent)
    return folder / "alias" / path.name


def sibling(folder, home):
    (folder / "model-evil").mkdir()
    (folder / "model-evil" / "data.bin").write_bytes(SECRET)


def sparse_file(folder, home):
    with open(home / "data.bin", "wb") as f:
        f.truncate(1 << 40)


OUTSIDE = ["../secret.bin", "a/../../secret.bin", "./../secret.bin", "..", ".", "", " ", "/etc/hostname", "C:\\secret.bin",
           "\\\\host\\share", "file:///etc/hostname", "data.bin\0.txt", "..\\secret.bin", "data.bin/", "x" * 5000, "../model-evil/data.bin",
           "%2e%2e/secret.bin", "/proc/self/mem", "/dev/zero", "~/secret.bin"]
CASES = [
    Case("X0", "inside", layout(), OK),
    Case("X0", "inside-with-offset", layout(extra=[("offset", "16"), ("length", "16")]), OK),
    Case("X0", "model-folder-is-a-link", linked_model_folder, OK),
    *[Case("X1" if ".." in p else "X3", f"path-{i}", layout(location=p, prepare=sibling)) for i, p in enumerate(OUTSIDE)],
    Case("X3", "absolute-inside", layout(location=lambda folder: str(folder / "model" / "data.bin"))),
    Case("X1", "out-and-in-again", layout(location="../model/data.bin"), ANY),
    Case("X3", "missing", layout(data=None)),
    Case("X3", "no-location", initializer(w.tensor("k", w.FLOAT, [4], external=[("offset", "0")]))),
    Case("X3", "location-twice", initializer(w.tensor("k", w.FLOAT, [4], external=[("location", "a"), ("location", "../secret.bin")]))),
    Case("X4", "link-to-outside", layout(prepare=link, location="link.bin")),
    Case("X4", "linked-folder", layout(prepare=link_folder, location="sub/data.bin")),
    Case("X5", "hard-link", layout(prepare=hard_link, location="hard.bin"), ANY),
    Case("X7", "file-too-short", layout(data=b"\0" * 15)),
    Case("X7", "file-empty", layout(data=b"")),
    *[Case("X7", f"{key}-{i}", layout(extra=[(key, text)])) for key in ("offset", "length")
      for i, text in enumerate(["-1", "999", "9223372036854775807", "18446744073709551615", "1e3", "abc", "", "0x10", "99999999999999999999999"])],
    Case("X7", "offset-plus-length", layout(extra=[("offset", "60"), ("length", "16")])),
    Case("X7", "offset-plus-length-wraps", layout(extra=[("offset", "9223372036854775800"), ("length", "16")])),
    Case("X7", "length-too-small", layout(extra=[("length", "8")])),
    Case("X7", "length-too-large", layout(extra=[("length", "32")]), ANY),
    Case("X7", "petabyte", layout(dims=(1 << 48,))),
    Case("X7", "terabyte-of-holes", layout(prepare=sparse_file, dims=(1 << 37,)), RES),
    Case("X8", "unknown-keys", layout(extra=[("colour", "red"), ("checksum", "no")]), ANY),
    Case("X8", "keys-10-5", layout(extra=[("k", "v")] * 100000), ANY),
    Case("X9", "fifo", layout(prepare=lambda folder, home: os.mkfifo(home / "pipe.bin"), location="pipe.bin")),
    Case("X9", "folder", layout(prepare=lambda folder, home: (home / "sub.bin").mkdir(), location="sub.bin")),
    Case("X9", "socket", layout(prepare=bind, location="socket.bin")),
    Case("X9", "unreadable", layout(prepare=lambda folder, home: (home / "data.bin").chmod(0), location="data.bin"), ANY),
    Case("X9", "model-is-a-fifo", lambda folder: (os.mkfifo(folder / "m.onnx"), folder / "m.onnx")[1]),
    *[Case("X11", f"{f.__name__}-outside", layout(make=f, location="../secret.bin")) for f in (constant, sparse, in_branch, in_function)],
    Case("X11", "in_training_info-outside", layout(make=in_training_info, location="../secret.bin"), ANY),
    *[Case("X11", f"{f.__name__}-inside", layout(make=f), OK if f is not sparse else ANY) for f in (constant, sparse, in_branch, in_function)],
]
