"""Boxes out of made-up model outputs, decoded without gatewatch: `vision_decode.py > vision_decode.json`. Needs numpy.

The outputs come from an integer hash that tests/suite/vision_decode.rs repeats, so both sides decode the same numbers and
no model comes between them: quantised ones turn one grey level of the input into boxes moved by a fifth of their size.
Per box the best class counts; the picture is 1280x720; suppression is per class at IoU 0.6, score floor 0.25.
"""
import json
import numpy as np

FRAME, CLASSES, FLOOR, IOU = (1280, 720), 3, 0.25, 0.6


def v(box, field):
    return ((box * 16 + field + 1) * 2654435761 % 2**32 * 2246822519 % 2**32) >> 16


def pixels(k):
    centre = [v(k, 0) % 6 * 48 + v(k, 1) % 8 + 20, v(k, 2) % 6 * 48 + v(k, 3) % 8 + 20]
    return centre + [40 + v(k, 4) % 16, 40 + v(k, 5) % 16]


def scores(k):
    on = v(k, 6) % 23 == 0
    return [v(k, 7 + c) / 65536 if on else 0.0 for c in range(CLASSES)], (0.5 + v(k, 10) / 131072 if on else 0.0)


def cells(n):
    return [(x, y, s) for s in (8, 16, 32) for y in range(n // s) for x in range(n // s)]


def yolox(n):
    """The numbers as written, then what they mean: corners in input pixels, score, class."""
    for k, (gx, gy, s) in enumerate(cells(n)):
        tx, ty = v(k, 0) % 256 / 64 - 2, v(k, 1) % 256 / 64 - 2
        tw, th = v(k, 2) % 256 / 128 + 0.5, v(k, 3) % 256 / 128 + 0.5
        each, objectness = scores(k)
        x, y, w, h = (tx + gx) * s, (ty + gy) * s, np.exp(tw) * s, np.exp(th) * s
        yield x, y, w, h, objectness * max(each), int(np.argmax(each))


def yolov8(n):
    for k in range(len(cells(n))):
        each, _ = scores(k)
        yield *pixels(k), max(each), int(np.argmax(each))


def yolov5(n):
    for k in range(3 * len(cells(n))):
        each, objectness = scores(k)
        yield *pixels(k), objectness * max(each), int(np.argmax(each))


def end_to_end(_):
    for k in range(300):
        each, _ = scores(k)
        yield *pixels(k), max(each), v(k, 11) % CLASSES


def to_frame(box, n, centred):
    x, y, w, h = box
    r = min(n / FRAME[0], n / FRAME[1])
    nw, nh = round(FRAME[0] * r), round(FRAME[1] * r)
    dx, dy = ((n - nw) // 2, (n - nh) // 2) if centred else (0, 0)
    fx, fy = FRAME[0] / nw, FRAME[1] / nh
    return [(x - w / 2 - dx) * fx, (y - h / 2 - dy) * fy, (x + w / 2 - dx) * fx, (y + h / 2 - dy) * fy]


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


result = []
for name, boxes, n in [("yolox", yolox, 416), ("yolov8", yolov8, 640), ("yolov8", yolov8, 320), ("yolov5", yolov5, 640),
                       ("end_to_end", end_to_end, 640)]:
    strong = [(score, c, to_frame(box, n, name != "yolox")) for *box, score, c in boxes(n) if score >= FLOOR]
    kept = []
    for b in sorted(strong, key=lambda b: -b[0]):
        if all(k[1] != b[1] or overlap(k[2], b[2]) <= IOU for k in kept):
            kept.append(b)
    rows = [[c, round(score, 5)] + [round(float(x), 2) for x in box] for score, c, box in kept]
    result.append({"layout": name, "input": n, "before": len(strong), "boxes": rows})
print("[\n" + ",\n".join(json.dumps(r) for r in result) + "\n]")
