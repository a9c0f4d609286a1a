"""Held-out quality and latency of ONNX models, side by side, as a Markdown table.

Real pictures: split `val`, licensed sources, and only the classes people labelled in each
picture (AP by the COCO tools). Simulator: recall and precision at IoU 0.5 of objects larger
than a given side. Models trained on COCO are asked for the classes they know.
"""
import argparse
import contextlib
import io
import os
import time

import cv2
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import data
from detect import COCO_TO_OURS, NanoDet, Onnx
from model import CLASSES


def model(spec, threads=1):
    """`path`, `coco:path` (YOLOX layout, COCO classes) or `nanodet:path`."""
    kind, _, path = spec.rpartition(":")
    made = {
        "": lambda: Onnx(path, threads=threads),
        "coco": lambda: Onnx(path, COCO_TO_OURS, threads),
        "nanodet": lambda: NanoDet(path, COCO_TO_OURS, threads),
    }[kind]()
    made.label = os.path.basename(path).removesuffix(".onnx")
    return made


def real_pictures(root, sources):
    """`(path, id, names of human classes, [(box, class, ignored)])` of the held-out pictures."""
    pictures, names = data.read_coco(os.path.join(root, "annotations.json"))
    for p, annotations in pictures:
        if p["split"] != "val" or not sources(p["source"]):
            continue
        known = [data.INDEX[c] for c in p["human_classes"]]
        boxes = []
        for a in annotations:
            cls = data.INDEX.get(names.get(a["category_id"]))
            if cls is None:
                boxes += [(a["bbox"], c, 1) for c in known]
            elif cls in known:
                boxes.append((a["bbox"], cls, int(a["iscrowd"] or a.get("origin") == "pseudo")))
        yield os.path.join(root, p["file_name"]), p["id"], known, boxes


def coco_ap(pictures, detector):
    """`{class: (AP, AP50, objects)}`; a class is judged only where people labelled it."""
    truth, found, ids = [], [], {c: [] for c in range(len(CLASSES))}
    for path, pid, known, boxes in pictures:
        for c in known:
            ids[c].append(pid)
        for box, cls, crowd in boxes:
            truth.append(dict(id=len(truth) + 1, image_id=pid, category_id=cls + 1, bbox=box,
                              area=box[2] * box[3], iscrowd=crowd))
        for b, s, c in zip(*detector(cv2.imread(path), 0.005)):
            found.append(dict(image_id=pid, category_id=int(c) + 1, score=float(s),
                              bbox=[*map(float, (b[0], b[1], b[2] - b[0], b[3] - b[1]))]))
    return {c: class_ap(truth, found, sorted(ids[c]), c) for c in ids if ids[c]}


def class_ap(truth, found, ids, cls):
    keep = set(ids)
    of_class = lambda rows: [r for r in rows if r["category_id"] == cls + 1 and r["image_id"] in keep]
    truth, found = of_class(truth), of_class(found)
    count = sum(not t["iscrowd"] for t in truth)
    if not found or not count:
        return 0.0, 0.0, count
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = dict(images=[dict(id=i) for i in ids], annotations=truth, categories=[dict(id=cls + 1)])
        gt.createIndex()
        run = COCOeval(gt, gt.loadRes(found), "bbox")
        run.evaluate(), run.accumulate(), run.summarize()
    return float(run.stats[0]), float(run.stats[1]), count


def simulator(root, detector, min_side, threshold):
    """`{class: (recall, precision, objects)}` at IoU 0.5 on whole simulator pictures.

    `min_side`: the longer side of a counted object, in pixels of the model's input.
    """
    hit, seen, right, said = np.zeros((4, len(CLASSES)))
    pictures, names = data.read_coco(os.path.join(root, "annotations.json"))
    for p, annotations in pictures:
        image = cv2.imread(data.find(root, p["file_name"]))
        scale = detector.size / max(image.shape[:2])
        boxes, _, classes = detector(image, threshold)
        free = np.ones(len(boxes), bool)
        rows = [(data.corners(a["bbox"]), data.INDEX.get(names[a["category_id"]]), a) for a in annotations]
        for box, cls, a in sorted(rows, key=lambda r: -r[2]["bbox"][2] * r[2]["bbox"][3]):
            overlap = data.iou([box], boxes)[0] if len(boxes) else np.zeros(0)
            match = np.flatnonzero(free & (classes == cls) & (overlap >= 0.5))
            counted = cls is not None and not a.get("iscrowd") and max(a["bbox"][2:]) * scale >= min_side
            if counted:
                seen[cls] += 1
                hit[cls] += len(match) > 0
            if len(match):
                best = match[overlap[match].argmax()]
                free[best] = False
                right[cls] += 1
                said[cls] += 1
        for c in classes[free]:
            said[c] += 1
    return {c: (hit[c] / seen[c], right[c] / max(said[c], 1), int(seen[c])) for c in range(len(CLASSES)) if seen[c]}


def latency(detectors, rounds=40):
    """Milliseconds of one inference, models taking turns so that load hits all alike: best median of 5."""
    best = [np.inf] * len(detectors)
    for _ in range(5):
        times = [[] for _ in detectors]
        for _ in range(rounds):
            for d, t in zip(detectors, times):
                x = np.zeros((1, 3, d.size, d.size), np.float32)
                start = time.perf_counter()
                d.session.run(None, {d.input.name: x})
                t.append(time.perf_counter() - start)
        best = [min(b, 1e3 * float(np.median(t))) for b, t in zip(best, times)]
    return best


def row(cells):
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("models", nargs="+", help=model.__doc__)
    ap.add_argument("--data", required=True)
    ap.add_argument("--sim")
    ap.add_argument("--min-side", type=float, default=24)
    ap.add_argument("--threshold", type=float, default=0.3)
    ap.add_argument("--latency", action="store_true")
    ap.add_argument("--all-sources", action="store_true", help="also held-out pictures without a stated licence")
    args = ap.parse_args()
    detectors = [model(m) for m in args.models]
    sources = (lambda s: True) if args.all_sources else data.licensed
    pictures = list(real_pictures(args.data, sources))
    print(f"Real held-out pictures: {len(pictures)}; AP50-95 / AP50\n")
    row(["model", *CLASSES, "mean of person..truck"])
    row(["---"] * (len(CLASSES) + 2))
    for d in detectors:
        r = coco_ap(pictures, d)
        mean = np.mean([r[c][:2] for c in range(5)], 0)
        row([d.label, *(f"{r[c][0]:.3f}/{r[c][1]:.3f} (n={r[c][2]})" if c in r and r[c][2] else "-"
                        for c in range(len(CLASSES))), "{:.3f}/{:.3f}".format(*mean)])
    if args.sim:
        print(f"\nSimulator, IoU 0.5, score >= {args.threshold}: recall of objects >= {args.min_side:g} px / precision of all\n")
        for d in detectors:
            r = simulator(args.sim, d, args.min_side, args.threshold)
            total = sum(v[0] * v[2] for v in r.values()) / max(1, sum(v[2] for v in r.values()))
            row([d.label, *(f"{r[c][0]:.3f}/{r[c][1]:.3f} (n={r[c][2]})" if c in r else "-" for c in range(len(CLASSES))), f"{total:.3f}"])
    if args.latency:
        print("\nInference, 1 thread, same run\n")
        for d, ms in zip(detectors, latency(detectors)):
            row([d.label, d.size, f"{ms:.2f} ms"])


if __name__ == "__main__":
    main()
