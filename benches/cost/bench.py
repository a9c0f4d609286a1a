"""What a camera costs: CPU of the agent beside bare GStreamer on the same streams, in the same run. See README.md.

Every figure is a ratio of CPU seconds (user + system of the process, all threads), so that a busy machine hurts both
sides alike; rounds alternate, the median and the spread are printed.
"""
import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

TICK = os.sysconf("SC_CLK_TCK")
CONFIG = """
[site]
box = "bench"
[store]
dir = "{dir}/store"
[mqtt]
url = "mqtt://127.0.0.1:{mqtt}"
[http]
listen = "127.0.0.1:{http}"
[footage]
record = {record}
[detector]
model = "{model}"
"""
CAMERA = """
[[camera]]
id = "c{n}"
url = "{url}"
decode = "{decode}"
[[camera.area]]
id = "a{n}"
kind = "lane"
polygon = [[0.2, 0.3], [0.8, 0.3], [0.8, 0.95], [0.2, 0.95]]
enter = {{ severity = 1 }}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_s(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mib(pid):
    line = next(l for l in open(f"/proc/{pid}/status") if l.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def until(what, condition, limit=60):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.1)
    raise SystemExit(f"waited {limit} s in vain for {what}")


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Running:
    """A process that is measured while it runs, and ended."""

    def __init__(self, command, log):
        self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cost(self, seconds):
        """CPU seconds a second, and MiB at the end."""
        pid, begin, at = self.process.pid, cpu_s(self.process.pid), time.monotonic()
        time.sleep(seconds)
        if self.process.poll() is not None:
            raise SystemExit(f"{self.process.args[0]} ended with {self.process.returncode} while it was measured")
        return (cpu_s(pid) - begin) / (time.monotonic() - at), rss_mib(pid)


def metric(port, name, camera):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    rows = [l for l in text.splitlines() if l.startswith(name) and f'camera="{camera}"' in l]
    return sum(float(l.rsplit(" ", 1)[1]) for l in rows)


def bare(url, keyframes_only):
    gate = ["identity", "drop-buffer-flags=delta-unit", "!"] if keyframes_only else []
    chain = ["rtspsrc", f"location={url}", "protocols=tcp", "latency=100", "!", "rtph264depay", "!", "h264parse", "!"]
    return ["gst-launch-1.0", "-q", *chain, *gate, "avdec_h264", "max-threads=1", "!", "fakesink", "sync=false"]


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.log = open(os.path.join(folder, "log"), "w")
        self.served, self.mqtt = free_port(), free_port()

    def serve(self):
        files = [f"--file=busy={self.args.busy}", f"--file=idle={self.args.idle}"]
        return Running([self.args.gatewatch, "simulate", "serve", "--port", str(self.served), *files], self.log)

    def broker(self):
        path = os.path.join(self.folder, "mosquitto.conf")
        with open(path, "w") as f:
            f.write(f"listener {self.mqtt} 127.0.0.1\nallow_anonymous true\n")
        exe = next(p for p in ("/usr/sbin/mosquitto", "/usr/bin/mosquitto") if os.path.exists(p))
        return Running([exe, "-c", path], self.log)

    def url(self, name):
        return f"rtsp://127.0.0.1:{self.served}/{name}"

    def cost_of_bare(self, name, keyframes_only):
        with Running(bare(self.url(name), keyframes_only), self.log) as running:
            time.sleep(self.args.settle)
            return running.cost(self.args.seconds)

    def cost_of_agent(self, name, decode, cameras=1):
        dir = tempfile.mkdtemp(dir=self.folder)
        http = free_port()
        text = CONFIG.format(dir=dir, mqtt=self.mqtt, http=http, model=self.args.model, record=str(self.args.record).lower())
        text += "".join(CAMERA.format(n=n, url=self.url(name), decode=decode) for n in range(cameras))
        path = os.path.join(dir, "gatewatch.toml")
        with open(path, "w") as f:
            f.write(text)
        with Running([self.args.gatewatch, "agent", "--config", path], self.log) as running:
            until("the agent", lambda: listens(http))
            until("pictures", lambda: metric(http, "gatewatch_frames_analysed_total", "c0") > 5)
            # An adaptive camera first learns what is usual.
            time.sleep(self.args.settle + (20 if decode == "adaptive" else 0))
            names = ("received", "decoded", "analysed")
            before = [metric(http, f"gatewatch_frames_{n}_total", "c0") for n in names]
            cost, rss = running.cost(self.args.seconds)
            after = [metric(http, f"gatewatch_frames_{n}_total", "c0") for n in names]
            return cost, rss, [(b - a) / self.args.seconds for a, b in zip(before, after)]


def inference_s(model, rounds=60):
    """CPU seconds of one bare inference."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shape = [d if isinstance(d, int) else 1 for d in session.get_inputs()[0].shape]
    x = {session.get_inputs()[0].name: np.zeros(shape, np.float32)}
    for _ in range(5):
        session.run(None, x)
    begin = time.process_time()
    for _ in range(rounds):
        session.run(None, x)
    return (time.process_time() - begin) / rounds


def measure(args):
    rows = {}
    add = lambda name, value: rows.setdefault(name, []).append(value)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, folder)
        try:
            with bench.serve(), bench.broker():
                until("the simulator", lambda: listens(bench.served))
                until("the broker", lambda: listens(bench.mqtt))
                for n in range(args.rounds):
                    one_round(bench, add)
                    print(f"round {n + 1} of {args.rounds}: " + ", ".join(f"{k} {v[-1]:.3f}" for k, v in rows.items()), flush=True)
        except SystemExit:
            print(open(os.path.join(folder, "log")).read()[-4000:])
            raise
    return rows


def one_round(bench, add):
    infer = inference_s(bench.args.model)
    full_busy, _ = bench.cost_of_bare("busy", False)
    busy, rss, (_, decoded, analysed) = bench.cost_of_agent("busy", "always")
    key_idle, _ = bench.cost_of_bare("idle", True)
    idle, _, (received, idle_decoded, idle_analysed) = bench.cost_of_agent("idle", "adaptive")
    full_idle, _ = bench.cost_of_bare("idle", False)
    # The share that was really decoded is no fault of the machine: a bare decoder would have decoded it too.
    add("busy_overhead_ratio", busy / (full_busy + analysed * infer))
    add("idle_overhead_ratio", idle / (key_idle + idle_analysed * infer))
    add("idle_decode_ratio", idle / full_idle)
    add("idle_decoded_share", idle_decoded / max(received, 1e-9))
    add("busy_cpu", busy)
    add("idle_cpu", idle)
    add("bare_full_cpu", full_idle)
    add("bare_keyframes_cpu", key_idle)
    add("analysed_per_s_busy", analysed)
    add("analysed_per_s_idle", idle_analysed)
    add("rss_mib_one_camera", rss)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--gatewatch", default="target/release/gatewatch")
    ap.add_argument("--model", default="models/gate.onnx")
    ap.add_argument("--busy", required=True, help="H.264 recording in which things move, looped")
    ap.add_argument("--idle", required=True, help="H.264 recording in which nothing moves, looped")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=20)
    ap.add_argument("--settle", type=float, default=3)
    ap.add_argument("--record", action="store_true", help="record the video too, which the bare pipelines do not")
    ap.add_argument("--out", default="bench-results.json")
    args = ap.parse_args()
    for name in ("gatewatch", "model", "busy", "idle"):
        setattr(args, name, os.path.abspath(getattr(args, name)))
    rows = measure(args)
    print(f"\n| figure | median | least | most |\n| --- | --- | --- | --- |")
    for name, values in rows.items():
        print(f"| `{name}` | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    with open(args.out, "w") as f:
        json.dump({k: {"median": statistics.median(v), "values": v} for k, v in rows.items()}, f, indent=1)


if __name__ == "__main__":
    main()
