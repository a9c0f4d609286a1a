"""What a camera costs: CPU of the agent beside bare GStreamer on the same streams, in the same run, and how many cameras
one core bears beside a plain Python script. See README.md.

Costs are ratios of CPU seconds (user + system of the process, all threads), so that a busy machine hurts both sides
alike; rounds alternate, the median and the spread are printed.
"""
import argparse
import collections
import datetime
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

TICK = os.sysconf("SC_CLK_TCK")
# Between two analysed pictures; and how much later a picture may be looked at that was held, while the decoder catches up.
INTERVAL_MS, TOLERATED_MS = 200, 400
# What happens in front of an idle camera is told when its next keyframe came, or what it held for 12 s was decoded.
TOLD_WITHIN_S = 20
# As the service unit sets them.
DEPLOYED = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576"}
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
{rule}
"""
TELLS = "enter = { severity = 1 }"
# Followed as much, and nothing of it told.
WATCHES = "dwell = { severity = 1, limit_s = 3600 }"


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

    def __init__(self, command, log, out=None, core=None, env=None):
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        self.process = subprocess.Popen([*pinned, *command], stdout=out or log, stderr=log, env=os.environ | (env or {}))

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


def metric(port, name, *labels):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    rows = [l for l in text.splitlines() if re.split("[ {]", l, maxsplit=1)[0] == name and all(p in l for p in labels)]
    return sum(float(l.rsplit(" ", 1)[1]) for l in rows)


def of_camera(n):
    return f'camera="c{n}"'


def bare(url, keyframes_only):
    gate = ["identity", "drop-buffer-flags=delta-unit", "!"] if keyframes_only else []
    chain = ["rtspsrc", f"location={url}", "protocols=tcp", "latency=100", "!", "rtph264depay", "!", "h264parse", "!"]
    return ["gst-launch-1.0", "-q", *chain, *gate, "avdec_h264", "max-threads=1", "!", "fakesink", "sync=false"]


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.log = open(os.path.join(folder, "log"), "w")
        self.served, self.mqtt = free_port(), free_port()
        self.told_per_s = 0.0

    def serve(self, core=None):
        files = [f"--file=busy={self.args.busy}", f"--file=idle={self.args.idle}"]
        return Running([self.args.gatewatch, "simulate", "serve", "--port", str(self.served), *files], self.log, core=core)

    def broker(self, core=None):
        path = os.path.join(self.folder, "mosquitto.conf")
        with open(path, "w") as f:
            f.write(f"listener {self.mqtt} 127.0.0.1\nallow_anonymous true\n")
        exe = next(p for p in ("/usr/sbin/mosquitto", "/usr/bin/mosquitto") if os.path.exists(p))
        return Running([exe, "-c", path], self.log, core=core)

    def url(self, name):
        return f"rtsp://127.0.0.1:{self.served}/{name}"

    def cost_of_bare(self, name, keyframes_only):
        with Running(bare(self.url(name), keyframes_only), self.log) as running:
            time.sleep(self.args.settle_idle if name == "idle" else self.args.settle)
            return running.cost(self.args.seconds)[0]

    def agent(self, name, decode, cameras=1, core=None, rule=TELLS):
        """Started, with pictures of every camera; its HTTP port."""
        dir, http = tempfile.mkdtemp(dir=self.folder), free_port()
        text = CONFIG.format(dir=dir, mqtt=self.mqtt, http=http, model=self.args.model, record=str(self.args.record).lower())
        decodes = decode if isinstance(decode, list) else [decode] * cameras
        text += "".join(CAMERA.format(n=n, url=self.url(name), decode=d, rule=rule) for n, d in enumerate(decodes))
        path = os.path.join(dir, "gatewatch.toml")
        with open(path, "w") as f:
            f.write(text)
        running = Running([self.args.gatewatch, "agent", "--config", path], self.log, core=core, env=DEPLOYED)
        try:
            until("the agent", lambda: listens(http))
            for n in range(len(decodes)):
                until("pictures", lambda: metric(http, "gatewatch_frames_analysed_total", of_camera(n)) > 0, 120)
        except BaseException:
            running.__exit__()
            raise
        return running, http

    def cost_of_agent(self, name, decode, cameras=1, core=None, settle=None, rule=TELLS):
        running, http = self.agent(name, decode, cameras, core, rule)
        names = [f"gatewatch_frames_{n}_total" for n in ("received", "decoded", "analysed")]
        with running:
            time.sleep(settle or (self.args.settle_idle if name == "idle" else self.args.settle))
            look = lambda: [[metric(http, n, of_camera(c)) for n in names] for c in range(cameras)]
            told = metric(http, "gatewatch_events_total")
            before, ran = look(), metric(http, "gatewatch_inference_duration_seconds_count")
            begin = time.monotonic()
            cost, rss = running.cost(self.args.seconds)
            after, ran = look(), metric(http, "gatewatch_inference_duration_seconds_count") - ran
            took = time.monotonic() - begin
            self.told_per_s = (metric(http, "gatewatch_events_total") - told) / took
            rates = [[(b - a) / took for a, b in zip(*both)] for both in zip(before, after)]
            return cost, rss, rates, ran / took

    def peer(self, name, cameras, core=None, settle=10):
        """CPU, memory, and pictures received and looked at a second and camera."""
        command = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer.py"), "--url", self.url(name),
                   "--cameras", str(cameras), "--model", self.args.model, "--mqtt", str(self.mqtt)]
        path = os.path.join(self.folder, "peer")
        with open(path, "w") as out, Running(command, self.log, out, core) as running:
            last = lambda: json.loads(open(path).read().splitlines()[-1])
            until("the peer", lambda: "[" in open(path).read() and min(last()["looked"]) > 0, 120)
            time.sleep(settle)
            before, begin = last(), time.monotonic()
            cost, rss = running.cost(self.args.seconds)
            after, took = last(), time.monotonic() - begin
            rate = lambda what: [(b - a) / took for a, b in zip(before[what], after[what])]
            return cost, rss, list(zip(rate("received"), rate("looked")))

    def new_events(self, name, decode, seconds):
        """From when on it was listened, milliseconds; and every new event since, for so many seconds: when it came, and its data."""
        import paho.mqtt.client as mqtt

        came = {}

        def on_message(client, _, message):
            now = time.time() * 1000
            try:
                event = json.loads(message.payload)
                id, data = event["id"], event["data"]
                # Of rules; what a camera does to itself has none.
                if data["phase"] == "new" and "rule" in data:
                    # A message may come twice.
                    came.setdefault(id, (now, data))
            except (ValueError, KeyError, TypeError):
                return

        running, _ = self.agent(name, decode)
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.on_message = on_message
        client.connect("127.0.0.1", self.mqtt)
        client.subscribe("#", qos=1)
        client.loop_start()
        begin = time.time() * 1000
        with running:
            time.sleep(seconds)
        client.loop_stop()
        return begin, list(came.values())

    def latencies(self, seconds):
        """Milliseconds from a picture's capture to its new event at a subscriber, with a busy camera."""
        _, events = self.new_events("busy", "always", seconds)
        return sorted(came - capture_ms(data, "best") for came, data in events)

    def idle_events(self, seconds):
        """New events of a mostly still stream, decoded in full and with an adaptive camera: rule, area and start. Both see the
        same pictures; what began before both were listened to, or too late to be told by the end, is in neither."""
        begin, events = self.new_events("idle", ["always", "adaptive"], seconds + TOLD_WITHIN_S)
        of = ([], [])
        for _, data in events:
            start, n = capture_ms(data, "start"), data["camera"]["id"].removeprefix("c")
            if begin <= start <= begin + seconds * 1000:
                of[int(n)].append((data["rule"], data["area"]["id"].removesuffix(n), start))
        return of


def capture_ms(data, which):
    return datetime.datetime.fromisoformat(data["capture"][which]).timestamp() * 1000


def unmatched(full, adaptive, within_ms=INTERVAL_MS + TOLERATED_MS):
    """Events (rule, area, start) of the one that the other has not, and the other way round; each is matched with one at most.
    In the order of their starts: the first of each either belong together or the earlier one has no partner left."""
    missed, extra = [], []
    for place in sorted({e[:2] for e in full + adaptive}):
        a, b = ([e for e in sorted(events) if e[:2] == place] for events in (full, adaptive))
        while a and b:
            if abs(a[0][2] - b[0][2]) <= within_ms:
                a, b = a[1:], b[1:]
            elif a[0][2] < b[0][2]:
                missed.append(a.pop(0))
            else:
                extra.append(b.pop(0))
        missed, extra = missed + a, extra + b
    return missed, extra


def tell(what, events):
    for rule, area, start in events:
        print(f"{what}: {rule} of {area} at {datetime.datetime.fromtimestamp(start / 1000, datetime.timezone.utc).isoformat()}", flush=True)


def inference_s(model, rounds=60, clock=time.process_time):
    """CPU seconds (or seconds on another clock, the median) of one bare inference."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shape = [d if isinstance(d, int) else 1 for d in session.get_inputs()[0].shape]
    x = {session.get_inputs()[0].name: np.zeros(shape, np.float32)}
    for _ in range(5):
        session.run(None, x)
    if clock is time.process_time:
        # Its steps are as long as an inference on some systems: many together.
        begin = clock()
        for _ in range(rounds):
            session.run(None, x)
        return (clock() - begin) / rounds
    times = []
    for _ in range(rounds):
        begin = clock()
        session.run(None, x)
        times.append(clock() - begin)
    return statistics.median(times)


def model_bench(args):
    """What `model bench` says: milliseconds of a run on one thread, and times of preparing over times of copying."""
    text = subprocess.run([args.gatewatch, "model", "bench", "--threads", "1", args.model], capture_output=True, text=True, check=True).stdout
    run = float(re.search(r"^cpu +1 +([0-9.]+)", text, re.M)[1])
    ratios = [float(r) for r in re.findall(r"^region .* ([0-9.]+)$", text, re.M)]
    return run, ratios


def one_round(bench, add):
    infer = inference_s(bench.args.model)
    full_busy = bench.cost_of_bare("busy", False)
    busy, rss, [(_, _, analysed)], ran = bench.cost_of_agent("busy", "always")
    told = bench.told_per_s
    watching, _, [(_, _, watched)], _ = bench.cost_of_agent("busy", "always", rule=WATCHES)
    key_idle = bench.cost_of_bare("idle", True)
    idle, rss_idle, [(received, idle_decoded, idle_analysed)], idle_ran = bench.cost_of_agent("idle", "adaptive")
    full_idle = bench.cost_of_bare("idle", False)
    add("busy_overhead_ratio", busy / (full_busy + analysed * infer))
    add("busy_watching_ratio", watching / (full_busy + watched * infer))
    add("messages_per_s_busy", told)
    if told > 0:
        add("message_cpu_ms", 1000 * (busy - watching) / told)
    add("busy_overhead_inferences_ratio", busy / (full_busy + ran * infer))
    add("idle_overhead_ratio", idle / (key_idle + idle_ran * infer))
    add("idle_decode_ratio", idle / full_idle)
    add("idle_decoded_share", idle_decoded / max(received, 1e-9))
    add("inferences_per_picture_busy", ran / max(analysed, 1e-9))
    add("busy_cpu", busy)
    add("busy_floor_cpu", full_busy + analysed * infer)
    add("idle_cpu", idle)
    add("bare_full_cpu", full_idle)
    add("bare_keyframes_cpu", key_idle)
    add("inference_ms", infer * 1000)
    add("analysed_per_s_busy", analysed)
    add("analysed_per_s_idle", idle_analysed)
    add("rss_mib_one_camera", rss)
    add("rss_mib_one_idle_camera", rss_idle)


def once(bench, add):
    """What needs no alternating rounds."""
    run_ms, ratios = model_bench(bench.args)
    infer_ms = inference_s(bench.args.model) * 1000
    add("detector_ratio", run_ms / (inference_s(bench.args.model, clock=time.perf_counter) * 1000))
    for ratio in ratios:
        add("preprocess_ratio", ratio)
    # With as many detectors in both, on two cores.
    two, four = (bench.cost_of_agent("busy", "always", n)[1] for n in (2, 4))
    add("rss_per_camera_mib", (four - two) / 2)
    found = bench.latencies(bench.args.latency_s)
    if found:
        at = lambda share: found[min(int(share * len(found)), len(found) - 1)]
        add("latency_over_floor_ms_p50", at(0.5) - infer_ms)
        add("latency_over_floor_ms_p99", at(0.99) - infer_ms)
        add("latency_events", len(found))
    full, adaptive = bench.idle_events(bench.args.missed_s)
    missed, extra = unmatched(full, adaptive)
    tell("missed", missed)
    tell("extra", extra)
    add("idle_events_full_decode", len(full))
    add("idle_missed_events", len(missed))
    add("idle_extra_events", len(extra))


def profile(bench, name, decode, out):
    """Where the agent's time goes: the ten symbols that take most by themselves, and its stacks, folded, in a file."""
    data = os.path.join(bench.folder, f"{name}.perf")
    running, _ = bench.agent(name, decode)
    with running:
        time.sleep(bench.args.settle_idle if name == "idle" else bench.args.settle)
        pid, seconds = str(running.process.pid), str(bench.args.seconds)
        subprocess.run(["perf", "record", "-q", "-F", "199", "-g", "-p", pid, "-o", data, "--", "sleep", seconds], check=True)
    perf = lambda *how: subprocess.run(["perf", *how, "-i", data], capture_output=True, text=True, check=True).stdout
    rows = [l.rstrip(" -") for l in perf("report", "--stdio", "--no-children", "-g", "none", "--sort", "dso,symbol").splitlines() if l.strip() and l[0] != "#"]
    print(f"\n{name} camera, own time\n" + "\n".join(rows[:10]), flush=True)
    folded, stack = collections.Counter(), []
    # A head for each sample, its frames from the innermost out, and an empty line.
    for line in [*perf("script", "-F", "comm,ip,sym").splitlines(), ""]:
        if line[:1].isspace():
            stack.append(line.split(maxsplit=1)[-1].replace(";", ":"))
        elif line:
            stack = [line.strip()]
        elif stack:
            folded[";".join([stack[0], *reversed(stack[1:])])] += 1
            stack = []
    path = os.path.join(os.path.dirname(os.path.abspath(out)), f"flame-{name}.folded")
    with open(path, "w") as f:
        f.writelines(f"{stack} {count}\n" for stack, count in folded.most_common())
    print(f"stacks: {path}", flush=True)


def sustained(bench, who, name, core, start):
    """The most cameras of which 95 % of the pictures due are looked at (idle: received), by doubling and halving. Who receives
    fewer than the camera sends falls behind it for good, however many of them it looks at."""
    seen = {}

    def bears(n):
        if who == "agent":
            cost, rss, rates, _ = bench.cost_of_agent(name, "always" if name == "busy" else "adaptive", n, core)
            worst = min(r[2] for r in rates) / 5 if name == "busy" else min(r[0] for r in rates) / 25
        else:
            cost, rss, rates = bench.peer(name, n, core)
            worst = min(min(r[1] / 5, r[0] / 25) for r in rates)
        seen[n] = {"cpu": cost, "rss_mib": rss, "worst_share": worst}
        print(f"{who} {name} core {core}: {n} cameras, CPU {cost:.2f}, {rss:.0f} MiB, worst share {worst:.2f}", flush=True)
        return worst >= 0.95

    low, high = 0, start
    while high <= 64 and bears(high):
        low, high = high, high * 2
    while high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if bears(middle) else (low, middle)
    return low, seen


def measure(args):
    rows, more = {}, {}
    add = lambda name, value: rows.setdefault(name, []).append(value)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, folder)
        # Where cameras are counted, those who serve them have a core of their own.
        core = 0 if "sustained" in args.parts else None
        other = None if core is None else 1
        try:
            with bench.serve(other), bench.broker(other):
                until("the simulator", lambda: listens(bench.served))
                until("the broker", lambda: listens(bench.mqtt))
                for n in range(args.rounds if "cost" in args.parts else 0):
                    one_round(bench, add)
                    print(f"round {n + 1} of {args.rounds}: " + ", ".join(f"{k} {v[-1]:.3f}" for k, v in rows.items()), flush=True)
                if "once" in args.parts:
                    once(bench, add)
                if "profile" in args.parts:
                    profile(bench, "busy", "always", args.out)
                    profile(bench, "idle", "adaptive", args.out)
                if "sustained" in args.parts:
                    for name, who, start in (("busy", "agent", 4), ("busy", "peer", 2), ("idle", "agent", 16), ("idle", "peer", 2)):
                        most, seen = sustained(bench, who, name, core, start)
                        add(f"cameras_sustained_{name}_{who}", most)
                        more[f"growth_{name}_{who}"] = seen
        except SystemExit:
            print(open(os.path.join(folder, "log")).read()[-4000:])
            raise
    return rows, more


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--gatewatch", default="target/release/gatewatch")
    ap.add_argument("--model", default="models/gate.onnx")
    ap.add_argument("--busy", required=True, help="H.264 recording in which things move, looped")
    ap.add_argument("--idle", required=True, help="H.264 recording that begins with movement and is still after it, looped")
    ap.add_argument("--parts", default="cost,once,sustained", help="which of cost, once, sustained, profile")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=20)
    ap.add_argument("--settle", type=float, default=5)
    ap.add_argument("--settle-idle", type=float, default=60, help="until the still part, and the agent idles")
    ap.add_argument("--latency-s", type=float, default=60)
    ap.add_argument("--missed-s", type=float, default=150)
    ap.add_argument("--record", action="store_true", help="record the video too, which the bare pipelines do not")
    ap.add_argument("--out", default="bench-results.json")
    args = ap.parse_args()
    args.parts = args.parts.split(",")
    for name in ("gatewatch", "model", "busy", "idle"):
        setattr(args, name, os.path.abspath(getattr(args, name)))
    rows, more = measure(args)
    if not rows:
        return
    print("\n| figure | median | least | most |\n| --- | --- | --- | --- |")
    for name, values in rows.items():
        print(f"| `{name}` | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    with open(args.out, "w") as f:
        json.dump({k: {"median": statistics.median(v), "values": v} for k, v in rows.items()} | more, f, indent=1)


if __name__ == "__main__":
    main()
