"""What scripts rely on: exit codes, messages, JSON, files. `run.py --tenon PATH [unittest options]`, any Python 3."""
import json
import os
import pathlib
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "hostile"))
import corpus  # noqa: E402
import wire as w  # noqa: E402

TENON = "build/release/tenon"
VERBS = ["inspect", "build", "run", "bench", "compare", "optimize", "detect", "read", "completion"]
ROWS = [8, 16, 40, 48, 0.9, 0,  1, 1, 9, 9, 0.1, 1]  # x0 y0 x1 y1 score class


def detector():
    """Finds the same two boxes on every picture: what a YOLO with its suppression inside gives."""
    nodes = [w.node("ReduceMax", ["images"], ["m"], keepdims=0), w.node("Mul", ["m", "zero"], ["z"]),
             w.node("Add", ["z", "rows"], ["output0"])]
    inits = [w.floats("zero", [], 0.0), w.tensor("rows", w.FLOAT, [1, 2, 6], ROWS)]
    return w.model(w.graph(nodes, [w.value("images", w.FLOAT, [1, 3, 64, 64])], [w.value("output0", w.FLOAT, [1, 2, 6])], inits))


def png(width, height, value=90):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    rows = (b"\0" + bytes([value]) * (3 * width)) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def catches(pid, number):
    """Whether a process has set its own handler for a signal yet."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1)


class Case(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.addCleanup(self.holder.cleanup)
        self.folder = pathlib.Path(self.holder.name)
        self.model = self.put("model.onnx", corpus.base_model())

    def put(self, name, data):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def tenon(self, *args, code=0, **options):
        done = subprocess.run([TENON, *map(str, args)], capture_output=True, text=True, cwd=self.folder, timeout=120, **options)
        self.assertEqual(done.returncode, code, f"{args}: {done.stdout}{done.stderr}")
        return done

    def json(self, *args, code=0):
        return json.loads(self.tenon(*args, "--json", code=code).stdout)


class Errors(Case):
    def test_missing_file(self):
        for verb in ["inspect", "build", "run", "bench", "compare", "optimize"]:
            self.assertIn("nope.onnx", self.tenon(verb, "nope.onnx", code=3).stderr)

    def test_truncated_model(self):
        half = self.put("half.onnx", self.model.read_bytes()[:700])
        self.tenon("build", half, code=3)

    def test_damaged_plan(self):
        self.tenon("build", self.model, "-o", "a.plan")
        data = (self.folder / "a.plan").read_bytes()
        self.tenon("run", self.put("b.plan", data[:len(data) // 2]), code=3)

    def test_unknown_operator(self):
        strange = self.put("strange.onnx", w.one("Frobnicate", [("x", w.FLOAT, [2])]))
        self.assertIn("Frobnicate", self.tenon("build", strange, code=4).stderr)

    def test_usage(self):
        self.tenon(code=2)
        self.tenon("build", code=2)
        self.tenon("bench", self.model, "--threads", "many", code=2)

    def test_typos(self):
        self.assertIn("did you mean 'build'", self.tenon("biuld", self.model, code=2).stderr)
        self.assertIn("did you mean '--opt-level'", self.tenon("build", self.model, "--opt-levle", "1", code=2).stderr)
        self.assertIn("did you mean 'fold_affine'", self.tenon("build", self.model, "--disable-pass", "fold_afine", code=3).stderr)

    def test_no_such_device(self):
        self.assertIn("NVIDIA driver", self.tenon("run", self.model, "--device", "cuda:0", code=5).stderr)

    def test_precision(self):
        self.assertIn("precision int8", self.tenon("bench", self.model, "--int8", code=4).stderr)
        self.assertIn("leave it out", self.tenon("bench", self.model, "--useCudaGraph", code=2).stderr)

    def test_json_errors(self):
        error = self.json("run", "nope.onnx", code=3)["error"]
        self.assertEqual((error["code"], error["exit_code"]), ("not found", 3))
        self.assertEqual(self.json("biuld", code=2)["error"]["code"], "usage")

    def test_not_verified(self):
        self.tenon("compare", self.model, "--tolerance=-1", code=6)
        self.tenon("compare", self.model, "--tolerance=1e-3")

    def test_device_is_written_to_not_replaced(self):
        for name, code in [("full", 5), ("null", 0)]:  # links, so that a mistake replaces a link only
            (self.folder / name).symlink_to(f"/dev/{name}")
            self.tenon("build", self.model, "-o", name, code=code)
            self.assertTrue((self.folder / name).is_symlink())

    def test_failed_write_leaves_the_old_file(self):
        def small_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
        timing = ["--timing-cache", "old", "--opt-level", "3", "--no-verify"]
        finder, picture = self.put("finder.onnx", detector()), self.put("set/a.png", png(64, 64))
        slow = self.put("slow.onnx", w.one("Conv", [("x", w.FLOAT, [1, 16, 64, 64]), w.floats("w", [16, 16, 3, 3])], pads=[1] * 4))
        self.tenon("build", slow, "-o", "new.plan", *timing)
        cache = (self.folder / "old").read_bytes()  # what is no cache would be refused before it is written
        self.assertGreater(len(cache), 16)
        other = self.put("other.onnx", w.one("Conv", [("x", w.FLOAT, [1, 16, 48, 48]), w.floats("w", [16, 16, 3, 3])], pads=[1] * 4))
        for args in [("build", self.model, "-o", "old"), ("optimize", self.model, "-o", "old"), ("run", self.model, "-o", "old"),
                     ("build", other, "-o", "/dev/null", *timing),
                     ("bench", self.model, "--iterations", "9", "--duration", "0", "--exportTimes", "old")]:
            self.put("old", cache)
            failed = self.tenon(*args, code=5, preexec_fn=small_files)
            self.assertIn("free some space", failed.stderr)
            self.assertEqual((self.folder / "old").read_bytes(), cache, args)
            self.assertEqual([p.name for p in self.folder.glob("old?*")], [])
        self.put("out/a.png", b"as it was")
        self.put("out/labels/a.txt", b"as it was")
        for args in [(), ("--txt", "--no-draw")]:
            failed = self.tenon("detect", finder, picture, "-o", "out", *args, code=5, preexec_fn=small_files)
            self.assertIn("free some space", failed.stderr)
        self.assertEqual([p.read_bytes() for p in sorted(self.folder.glob("out/**/a.*"))], [b"as it was"] * 2)

    def test_interrupt(self):
        chain = [w.node("Conv", [f"v{i}" if i else "x", "w"], [f"v{i + 1}"], pads=[1] * 4) for i in range(300)]
        slow = self.put("slow.onnx", w.model(w.graph(chain, [w.value("x", w.FLOAT, [1, 64, 128, 128])], [w.value("v300")],
                                                    [w.floats("w", [64, 64, 3, 3], 0.001)])))
        finder, picture = self.put("finder.onnx", detector()), self.put("a.png", png(64, 64))
        for args in [("bench", self.model, "--warmUp", "100000"), ("build", slow, "-o", "slow.plan", "--opt-level", "5"),
                     ("run", slow), ("detect", finder, *[picture] * 20000, "-o", "out")]:
            before = {p for p in self.folder.rglob("*")}
            running = subprocess.Popen([TENON, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       cwd=self.folder)
            while running.poll() is None and not catches(running.pid, signal.SIGINT):
                time.sleep(0.01)
            time.sleep(0.3)
            self.assertIsNone(running.poll(), f"{args[:2]}: ended before it could be interrupted")
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=30)
            self.assertEqual(running.returncode, 5, f"{args[:2]}: {err}")
            self.assertRegex(err, "interrupted|cancelled")
            left = {p.name for p in self.folder.rglob("*")} - {p.name for p in before} - {"out", "a.png"}
            self.assertEqual(left, set())

    def test_strange_files(self):
        os.mkfifo(self.folder / "pipe")
        (self.folder / "folder").mkdir()
        self.put("empty", b"")
        finder, barred = self.put("finder.onnx", detector()), self.put("barred", b"x")
        barred.chmod(0)
        strange = ["pipe", "folder", "empty", "/dev/null", "/dev/zero", "", "model.onnx/x", "x" * 5000]
        strange += ["barred"] if os.geteuid() != 0 else []
        for verb in ["inspect", "build", "run", "bench", "compare", "optimize", "detect"]:
            for name in strange:
                told = self.tenon(verb, name, *(["x.png"] if verb == "detect" else []), code=3).stderr
                self.assertIn("tenon: ", told)
        for name in strange:
            self.tenon("detect", finder, name, code=3)
            self.tenon("run", self.model, "-i", f"x={name}", code=3)
        for name in ["pipe", "folder", "/dev/zero"]:
            self.tenon("build", self.model, "--timing-cache", name, code=3)

    def test_strange_numbers(self):
        for args in [("--batch", "0"), ("--batch", "1e9"), ("--threads", "-1"), ("--opt-level", "9"), ("--budget", "nan"), ("--top", "-1")]:
            self.tenon("run", self.model, *args, code=2)
        self.tenon("compare", self.model, "--tolerance", "nan", code=2)
        for shape in ["x", "x:1x", "x:-1x2x6x6", "x:" + "9" * 20, "X:1x2x6x6", "x:1x2x100000x100000", "x:" + "1000000x" * 3 + "9"]:
            self.tenon("run", self.model, "--shape", shape, code=3)
        self.assertIn("--optimized", self.tenon("inspect", self.model, "--stop-after", "fold_affine", code=3).stderr)

    def test_strange_places(self):
        for target, words in [("none/x", "make the folder first"), ("model.onnx/x", "make the folder first"), (".", "directory")]:
            for args in [("build", self.model, "-o"), ("run", self.model, "-o"), ("optimize", self.model, "-o")]:
                self.assertIn(words, self.tenon(*args, target, code=3).stderr)
        self.tenon("run", self.model, env={})
        if os.geteuid() != 0:
            self.folder.chmod(0o500)
            self.addCleanup(self.folder.chmod, 0o700)
            self.assertIn("may write", self.tenon("build", self.model, code=3).stderr)
            self.tenon("run", self.model)

    def test_reader_that_goes_away(self):
        for args in [("run", self.model, "--top", "5"), ("inspect", self.model, "--text"), ("--help",)]:
            read, write = os.pipe()
            os.close(read)
            done = subprocess.run([TENON, *map(str, args)], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
            os.close(write)
            self.assertEqual(done.returncode, 5, done.stderr)
            self.assertIn("could not be written", done.stderr)


class Help(Case):
    def test_every_option_is_explained(self):
        script = self.tenon("completion", "bash").stdout
        options = dict(re.findall(r"^    (\w+)\) words='([^']*)'", script, re.M))
        self.assertEqual(sorted(options), sorted(VERBS))
        for verb in VERBS:
            text = self.tenon(verb, "--help").stdout
            self.assertIn("tenon " + verb, text)
            for option in options[verb].split():
                self.assertRegex(text, re.escape(option) + r"\b", f"{verb} --help")

    def test_top(self):
        text = self.tenon("--help").stdout
        for verb in VERBS:
            self.assertIn(verb, text)
        self.assertIn("Exit codes", text)

    def test_completion_scripts(self):
        self.assertEqual(subprocess.run(["bash", "-n"], input=self.tenon("completion", "bash").stdout, text=True).returncode, 0)
        self.assertIn("#compdef tenon", self.tenon("completion", "zsh").stdout)
        self.assertIn("complete -c tenon", self.tenon("completion", "fish").stdout)
        self.tenon("completion", "tcsh", code=2)


class Work(Case):
    def test_build_run_bench(self):
        built = self.json("build", self.model, "-o", "m.plan")
        self.assertEqual(built["path"], "m.plan")
        self.assertGreater(built["steps"], 0)
        a, b = (self.json("run", m)["outputs"]["y"] for m in (self.model, "m.plan"))
        self.assertEqual(a["shape"], [1, 5])
        self.assertEqual([i["index"] for i in a["largest"]], [i["index"] for i in b["largest"]])
        bench = self.json("bench", "m.plan", "--duration", "0", "--iterations", "3")
        for key in ["latency_ms", "throughput_per_s", "batch", "device", "precision", "peak_memory_bytes"]:
            self.assertIn(key, bench)
        self.assertLessEqual({"min", "mean", "median", "p90", "p99"}, set(bench["latency_ms"]))

    def test_trtexec_flags(self):
        self.tenon("build", f"--onnx={self.model}", "--saveEngine=t.plan", "--shapes=x:1x2x6x6", "--fp32")
        self.tenon("bench", "--loadEngine=t.plan", "--warmUp=1", "--iterations=5", "--duration=0", "--avgRuns=5",
                   "--exportTimes=times.json", "--exportProfile=profile.json", "--percentile=50")
        times, profile = (json.loads((self.folder / f).read_text()) for f in ("times.json", "profile.json"))
        self.assertGreaterEqual(len(times), 5)
        self.assertIn("latencyMs", times[0])
        self.assertIn("count", profile[0])
        self.assertEqual({"name", "timeMs", "averageMs", "medianMs", "percentage"}, set(profile[1]))

    def test_raw_input(self):
        self.put("x.bin", struct.pack("<72f", *range(72)))
        self.assertEqual(self.json("run", self.model, "-i", "x=x.bin")["outputs"]["y"]["shape"], [1, 5])
        self.put("short.bin", b"1234")
        self.tenon("run", self.model, "-i", "x=short.bin", code=3)
        self.assertIn("no input 'z'", self.tenon("run", self.model, "-i", "z=x.bin", code=3).stderr)

    def test_picture_input(self):
        model = self.put("p.onnx", w.one("GlobalMaxPool", [("x", w.FLOAT, [1, 3, 8, 8])]))
        self.put("p.png", png(20, 10, 51))
        out = self.json("run", model, "-i", "p.png", "--image-mean", "0.1,0.1,0.1")["outputs"]
        self.assertAlmostEqual(next(iter(out.values()))["largest"][0]["value"], 0.1, places=5)

    def test_asked_shape_wins(self):
        model = self.put("lies.onnx", w.one("GlobalMaxPool", [("x", w.FLOAT, [10, 3, 32, 32])]))
        told = self.json("build", model, "--shape", "x:1x3x48x48", "-o", "l.plan")
        self.assertTrue(told["verification"]["passed"])
        self.assertEqual(next(iter(self.json("run", "l.plan")["outputs"].values()))["shape"], [1, 3, 1, 1])

    def test_optimize(self):
        told = self.json("optimize", self.model, "-o", "o.onnx")
        self.assertLess(told["nodes_after"], told["nodes_before"])
        a, b = (self.json("run", m)["outputs"]["y"]["largest"] for m in (self.model, "o.onnx"))
        for p, q in zip(a, b):
            self.assertAlmostEqual(p["value"], q["value"], places=5)
        self.assertNotIn("tenon.", self.tenon("inspect", "o.onnx", "--text").stdout)


class Detect(Case):
    def setUp(self):
        super().setUp()
        self.finder = self.put("finder.onnx", detector())
        self.put("set/images/a.png", png(64, 64))
        self.put("set/labels/a.txt", b"0 0.375 0.5 0.5 0.5\n")

    def test_boxes_files(self):
        done = self.tenon("detect", self.finder, "set/images", "-o", "out", "--txt")
        self.assertIn("1 picture written", done.stdout)
        self.assertTrue((self.folder / "out/a.png").exists())
        numbers = [float(v) for v in (self.folder / "out/labels/a.txt").read_text().split()]
        for got, want in zip(numbers, [0, 0.375, 0.5, 0.5, 0.5, 0.9]):
            self.assertAlmostEqual(got, want, places=3)

    def test_json_lines(self):
        lines = self.tenon("detect", self.finder, "set/images/a.png", "--json", "--no-draw", "--conf", "0.05").stdout.splitlines()
        found = json.loads(lines[0])["detections"]
        self.assertEqual([d["class"] for d in found], [0, 1])
        self.assertEqual(found[0]["box"], [8, 16, 40, 48])
        self.assertFalse((self.folder / "detected").exists())
        only = self.tenon("detect", self.finder, "set/images/a.png", "--json", "--no-draw", "--conf", "0.05", "--classes", "1")
        self.assertEqual([d["class"] for d in json.loads(only.stdout)["detections"]], [1])

    def test_val(self):
        told = self.json("detect", self.finder, "--val", "set")
        self.assertEqual((told["pictures"], told["objects"]), (1, 1))
        self.assertAlmostEqual(told["map50_95"], 1, places=6)
        self.put("set/labels/a.txt", b"0 0.1 0.1 0.1 0.1\n")
        self.assertEqual(self.json("detect", self.finder, "--val", "set")["map50"], 0)

    def test_val_coco(self):
        truth = {"images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 64}], "categories": [{"id": 1, "name": "thing"}],
                 "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [8, 16, 32, 32], "area": 1024, "iscrowd": 0}]}
        self.put("coco.json", json.dumps(truth).encode())
        told = self.json("detect", self.finder, "set/images", "--val", "coco.json")
        self.assertAlmostEqual(told["map50_95"], 1, places=6)

    def test_errors(self):
        self.tenon("detect", self.model, "set/images/a.png", code=4)
        self.tenon("detect", self.finder, "set/labels", code=3)
        self.put("set/images/b.png", b"no picture")
        done = self.tenon("detect", self.finder, "set/images", "-o", "out", code=3)
        self.assertIn("b.png", done.stderr)
        self.assertTrue((self.folder / "out/a.png").exists())
        self.assertIn("would be written over", self.tenon("detect", self.finder, "set/images/a.png", "-o", "set/images", code=3).stderr)


if __name__ == "__main__":
    if "--tenon" in sys.argv:
        at = sys.argv.index("--tenon")
        TENON = sys.argv[at + 1]
        del sys.argv[at:at + 2]
    TENON = os.path.abspath(TENON)
    unittest.main()
