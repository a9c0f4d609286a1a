"""HOTA, MOTA and IDF1 of gatewatch's tracker beside ByteTrack, on the same detections. See README.md."""

import argparse
import collections
import json
import pathlib
import subprocess

import numpy as np
import supervision as sv
import trackeval

# What is judged, by the standard code of the MOT benchmarks.
METRICS = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
           trackeval.metrics.Identity({"PRINT_CONFIG": False})]


def read(text, scale=1.0):
    """Lines `frame, id, left, top, width, height, score` by frame: (id, box as corners, score)."""
    frames = collections.defaultdict(list)
    for line in text.splitlines():
        if line.strip():
            frame, ident, x, y, w, h, score = (float(v) for v in line.split(",")[:7])
            frames[int(frame)].append((int(ident), (x, y, x + w, y + h), min(score / scale, 1.0)))
    return frames


def drawn(text, label):
    """The truth of a drawn scene (`gatewatch simulate render --truth`), as `read` gives it."""
    frames = collections.defaultdict(list)
    for number, line in enumerate(text.splitlines(), 1):
        # What is nearly hidden nobody can find.
        seen = [o for o in json.loads(line)["objects"] if o["label"] == label and o["occluded"] < 0.8]
        frames[number] = [(o["id"], tuple(o["rect"]), 1.0) for o in seen]
    return frames


def iou(a, b):
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    a, b = np.asarray(a)[:, None], np.asarray(b)[None]
    wide = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = wide.clip(0).prod(-1)
    area = lambda r: (r[..., 2:] - r[..., :2]).prod(-1)
    return common / (area(a) + area(b) - common)


def score(truth, tracks, numbers):
    """The three figures over the frames `numbers`."""
    def ids(frames):
        known = {}
        return known, [np.array([known.setdefault(i, len(known)) for i, _, _ in frames[n]], int) for n in numbers]

    gt_known, gt_ids = ids(truth)
    known, tracker_ids = ids(tracks)
    boxes = lambda frames, n: [b for _, b, _ in frames[n]]
    data = {
        "num_timesteps": len(numbers), "gt_ids": gt_ids, "tracker_ids": tracker_ids,
        "num_gt_ids": len(gt_known), "num_tracker_ids": len(known),
        "num_gt_dets": sum(map(len, gt_ids)), "num_tracker_dets": sum(map(len, tracker_ids)),
        "similarity_scores": [iou(boxes(truth, n), boxes(tracks, n)) for n in numbers],
    }
    hota, clear, identity = (m.eval_sequence(data) for m in METRICS)
    return float(np.mean(hota["HOTA"])), float(clear["MOTA"]), float(identity["IDF1"]), int(clear["IDSW"])


def ours(gatewatch, detections, every, fps, scale, confirmed):
    command = [gatewatch, "mot", "track", str(detections), f"--every={every}", f"--fps={fps}", f"--score-scale={scale}"]
    done = subprocess.run(command + ["--confirmed"] * confirmed, check=True, capture_output=True, text=True)
    return read(done.stdout)


def bytetrack(detections, numbers, every, fps, **settings):
    tracker = sv.ByteTrack(frame_rate=fps / every, **settings)
    out = collections.defaultdict(list)
    for n in numbers:
        found = detections[n]
        given = sv.Detections(
            xyxy=np.array([b for _, b, _ in found], float).reshape(-1, 4),
            confidence=np.array([s for _, _, s in found], float), class_id=np.zeros(len(found), int))
        seen = tracker.update_with_detections(given)
        for box, ident, conf in zip(seen.xyxy, seen.tracker_id, seen.confidence):
            out[n].append((int(ident), tuple(box), float(conf)))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatewatch", default="target/debug/gatewatch", help="the program")
    parser.add_argument("--truth", required=True, type=pathlib.Path, help="gt.txt, or the truth of a drawn scene, .jsonl")
    parser.add_argument("--label", default="person", help="class to judge, of a drawn scene")
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("detections", nargs="+", metavar="NAME=FILE[:SCALE]", help="det.txt; scores are divided by SCALE")
    args = parser.parse_args()
    text = args.truth.read_text()
    truth = drawn(text, args.label) if args.truth.suffix == ".jsonl" else read(text)
    print("| detections | frames/s | tracker | HOTA | MOTA | IDF1 | id switches |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for given in args.detections:
        name, _, rest = given.partition("=")
        file, _, scale = rest.partition(":")
        scale = float(scale or 1)
        detections = read(pathlib.Path(file).read_text(), scale)
        for every in (1, 5):
            numbers = range(1, max(truth) + 1, every)
            runs = {
                "gatewatch": ours(args.gatewatch, file, every, args.fps, scale, False),
                "gatewatch, confirmed": ours(args.gatewatch, file, every, args.fps, scale, True),
                "ByteTrack, defaults": bytetrack(detections, numbers, every, args.fps),
            }
            grid = [dict(track_activation_threshold=a, minimum_matching_threshold=m, lost_track_buffer=b)
                    for a in (0.1, 0.25, 0.4) for m in (0.7, 0.8, 0.9, 0.95) for b in (30, 90)]
            # Chosen by its own result on this very sequence: more than a user of it would have.
            tuned = [bytetrack(detections, numbers, every, args.fps, **g) for g in grid]
            runs["ByteTrack, best of grid"] = max(tuned, key=lambda t: sum(score(truth, t, numbers)[::2]))
            for tracker, tracks in runs.items():
                hota, mota, idf1, switches = score(truth, tracks, numbers)
                print(f"| {name} | {args.fps / every:g} | {tracker} | {hota:.3f} | {mota:.3f} | {idf1:.3f} | {switches} |")


if __name__ == "__main__":
    main()
