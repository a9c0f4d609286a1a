"""Boxes that models find, read without gatewatch: `make_golden.py PLANES MODELS`, writes a JSON file a model beside itself.

Needs numpy, opencv-python-headless and onnxruntime of the version in scripts/onnxruntime.txt. PLANES is a folder of decoded
pictures (NAME_WxH.i420: studio range, BT.601), written by

    GATEWATCH_PLANES=PLANES GATEWATCH_ASSETS=... cargo test --test suite parity

so that both sides begin with the same decoded picture. MODELS is the folder of the models.

Pictures are prepared twice. `exact` repeats the product's arithmetic in single precision, because quantised graphs turn the
last bit of their input into boxes moved by pixels; its picture is what the model sees here. `opencv` resizes the planes with
OpenCV and converts them in double precision; samples of it are kept for the test of the product's tensor, and this script
stops when the two are further apart than rounding to whole grey levels. Reading of outputs, geometry and suppression are
written from the papers and exports of the models. Per box the best class counts; suppression is per class at IoU 0.6.
"""
import hashlib
import json
import pathlib
import sys

import cv2
import numpy as np
import onnxruntime as ort

HERE = pathlib.Path(__file__).parent
F = np.float32
IOU, KEEP = 0.6, 0.25
SAMPLES, PICTURES_SAMPLED = 120, 4


# ---- pictures

def read_planes(path):
    w, h = map(int, path.stem.rsplit("_", 1)[1].split("x"))
    raw = path.read_bytes()
    flat = np.frombuffer(raw, np.uint8)
    cw, ch = w // 2, h // 2
    planes = [flat[: w * h].reshape(h, w)]
    planes += [flat[w * h + i * cw * ch : w * h + (i + 1) * cw * ch].reshape(ch, cw) for i in (0, 1)]
    return (w, h), planes, hashlib.sha256(raw).hexdigest()[:16]


def linear(length, outputs, halve):
    """Left sample and both weights of every output sample, in single precision."""
    step = F(length) / F(outputs)
    samples = length
    if halve:
        step, samples = step / F(2), (length - 1) // 2 + 1
    middle = (np.arange(outputs, dtype=F) + F(0.5)) * step
    left = np.clip(np.floor(np.maximum(middle - F(0.5), F(0))).astype(int), 0, samples - 2)
    weight = lambda i: np.maximum(F(1) - np.abs(i.astype(F) + F(0.5) - middle), F(0))
    a, b = weight(left), weight(left + 1)
    return left, a / (a + b), b / (a + b)


def exact_plane(plane, size, frame, halve):
    (left, xa, xb), (top, ya, yb) = linear(frame[0], size[0], halve), linear(frame[1], size[1], halve)
    p = plane.astype(F)
    rows = ya[:, None] * p[top] + yb[:, None] * p[top + 1]
    return rows[:, left] * xa + rows[:, left + 1] * xb


def to_rgb(y, u, v, kind):
    c = kind
    y, u, v = c(1.164384) * (y - c(16)), u - c(128), v - c(128)
    rgb = [y + c(1.596027) * v, y - c(0.391762) * u - c(0.812968) * v, y + c(2.017232) * u]
    return [np.clip(p, c(0), c(255)) for p in rgb]


def prepare(planes, frame, model):
    """The picture in the input, in grey levels, red first: as the model sees it, and by OpenCV; and its place."""
    side = model["side"]
    if model["resize"] == "stretch":
        inner, offset = (side, side), (0, 0)
    else:
        scale = min(side / frame[0], side / frame[1])
        inner = tuple(min(side, int(np.floor(n * scale + 0.5))) for n in frame)
        offset = (0, 0) if model["resize"] == "top_left" else tuple((side - n) // 2 for n in inner)
    assert frame[0] / inner[0] <= 2 and frame[1] / inner[1] <= 2, "beyond two pixels the product averages areas"
    exact = [exact_plane(p, inner, frame, i > 0) for i, p in enumerate(planes)]
    seen = [np.rint(p) for p in to_rgb(*exact, F)]
    resized = [cv2.resize(p.astype(np.float64), inner, interpolation=cv2.INTER_LINEAR) for p in planes]
    opencv = to_rgb(*resized, np.float64)
    apart = max(np.abs(a - b).max() for a, b in zip(seen, opencv))
    assert apart < 0.51, f"the two preparations are {apart} grey levels apart"
    placed = []
    for picture in (seen, opencv):
        whole = np.full((3, side, side), 114, picture[0].dtype)
        whole[:, offset[1] : offset[1] + inner[1], offset[0] : offset[0] + inner[0]] = picture
        placed.append(whole)
    return placed, inner, offset


def as_input(rgb, model):
    """Channels in the order of the model, numbers as it was trained with."""
    x = rgb if model["rgb"] else rgb[::-1]
    mean, factor = (np.array(v, x.dtype).reshape(3, 1, 1) for v in model["numbers"])
    x = (x - mean) * factor
    return np.ascontiguousarray((x.transpose(1, 2, 0) if model.get("last") else x)[None])


UNIT = F(1) / F(255)
PLAIN = ([0] * 3, [1] * 3)
BY_255 = ([0] * 3, [UNIT] * 3)
MINUS = ([104, 117, 123], [1] * 3)
CAFFE = ([F(v) / F(1) for v in (103.53, 116.28, 123.675)], [F(1) / F(v) for v in (57.375, 57.12, 58.395)])


# ---- outputs: class scores [N, C] and corners [N, 4] in input pixels

def corners(x, y, w, h):
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)


def logistic(v):
    return 1 / (1 + np.exp(-v))


def yolox(outputs, side):
    o = outputs[0][0].astype(np.float64)
    rows, at = [], 0
    for s in (8, 16, 32):
        n = side // s
        gy, gx = np.divmod(np.arange(n * n), n)
        part, at = o[at : at + n * n], at + n * n
        size = np.exp(part[:, 2:4]) * s
        rows.append(corners((part[:, 0] + gx) * s, (part[:, 1] + gy) * s, size[:, 0], size[:, 1]))
    return o[:, 5:] * o[:, 4:5], np.concatenate(rows)


def yolov5_tflite(outputs, side):
    o = outputs[0][0].astype(np.float64)
    return o[:, 5:] * o[:, 4:5], corners(*(o[:, :4] * side).T)


def yolov8(outputs, _):
    o = outputs[0][0].astype(np.float64)
    return o[4:].T, corners(*o[:4])


def one_class(labels, scores, boxes, classes=80):
    table = np.zeros((len(labels), classes))
    table[np.arange(len(labels)), labels.astype(int)] = scores
    return table, boxes.astype(np.float64)


def end_to_end(outputs, _):
    o = outputs[0][0]
    return one_class(o[:, 5], o[:, 4], o[:, :4])


def deim(outputs, _):
    labels, boxes, scores = (o.reshape(-1, n).squeeze(-1) if n == 1 else o.reshape(-1, n) for o, n in zip(outputs, (1, 4, 1)))
    return one_class(labels, scores, boxes)


def nanodet(outputs, side):
    all_scores, all_boxes = [], []
    for s in (8, 16, 32):
        n = side // s
        scores = next(o for o in outputs if o.shape[1:] == (n * n, 80))[0].astype(np.float64)
        logits = next(o for o in outputs if o.shape[1:] == (n * n, 32))[0].reshape(n * n, 4, 8).astype(np.float64)
        share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        far = (share * np.arange(8)).sum(-1) * s
        cy, cx = (v * s + 0.5 * (s - 1) for v in np.divmod(np.arange(n * n), n))
        all_boxes.append(np.stack([cx - far[:, 0], cy - far[:, 1], cx + far[:, 2], cy + far[:, 3]], -1))
        all_scores.append(scores)
    return np.concatenate(all_scores), np.concatenate(all_boxes)


def fastestdet(outputs, side):
    o = outputs[0][0].astype(np.float64)
    n = o.shape[1]
    o = o.reshape(o.shape[0], -1)
    gy, gx = np.divmod(np.arange(n * n), n)
    cell = side / n
    boxes = corners((gx + np.tanh(o[1])) * cell, (gy + np.tanh(o[2])) * cell, logistic(o[3]) * side, logistic(o[4]) * side)
    return (o[0] ** 0.6 * o[5:] ** 0.4).T, boxes


PRIORS = {8: (24, 48), 16: (96, 192), 32: (384, 512)}


def ssd_offsets(outputs, side):
    by_width = {o.shape[1]: o.astype(np.float64) for o in outputs}
    offsets, priors = by_width[4], []
    for s, sizes in PRIORS.items():
        gy, gx = np.divmod(np.arange((side // s) ** 2), side // s)
        centres = np.stack([(gx + 0.5) * s, (gy + 0.5) * s], -1)
        priors.append(np.stack([np.c_[centres, np.full((len(gx), 2), n)] for n in sizes], 1).reshape(-1, 4))
    priors = np.concatenate(priors)
    centre = priors[:, :2] + offsets[:, :2] * 0.1 * priors[:, 2:]
    size = priors[:, 2:] * np.exp(offsets[:, 2:] * 0.2)
    return by_width[2][:, 1:], corners(*centre.T, *size.T)


MODELS = {
    "yolox_nano_416": dict(side=416, resize="top_left", rgb=False, numbers=PLAIN, read=yolox),
    "nanodet_m_416": dict(side=416, resize="stretch", rgb=False, numbers=CAFFE, read=nanodet),
    "fastestdet_352": dict(side=352, resize="stretch", rgb=False, numbers=BY_255, read=fastestdet),
    "yolov5n_from_tflite_fp16": dict(side=640, resize="centre", rgb=True, numbers=BY_255, read=yolov5_tflite, last=True),
    "yolov8n_int8": dict(side=640, resize="centre", rgb=True, numbers=BY_255, read=yolov8),
    "yolo11n_int8": dict(side=320, resize="centre", rgb=True, numbers=BY_255, read=yolov8),
    "yolo26n_int8": dict(side=640, resize="centre", rgb=True, numbers=BY_255, read=end_to_end, suppressed=True),
    "plate_mnet": dict(side=640, resize="stretch", rgb=False, numbers=MINUS, read=ssd_offsets),
    "deimv2_atto_coco_int8": dict(side=320, resize="stretch", rgb=True, numbers=BY_255, read=deim, suppressed=True),
}


# ---- boxes

def overlap(a, b):
    w = np.minimum(a[2], b[:, 2]) - np.maximum(a[0], b[:, 0])
    h = np.minimum(a[3], b[:, 3]) - np.maximum(a[1], b[:, 1])
    shared = np.maximum(w, 0) * np.maximum(h, 0)
    area = lambda r: (r[..., 2] - r[..., 0]) * (r[..., 3] - r[..., 1])
    return shared / np.maximum(area(a) + area(b) - shared, 1e-9)


def suppressed(classes, scores, boxes):
    kept = []
    for k in np.argsort(-scores, kind="stable"):
        same = [j for j in kept if classes[j] == classes[k]]
        if not same or overlap(boxes[k], boxes[same]).max() <= IOU:
            kept.append(k)
    return kept


def boxes_of(session, model, picture, frame, inner, offset):
    feed = {}
    for i in session.get_inputs():
        feed[i.name] = picture if len(i.shape) == 4 else np.array([[model["side"]] * 2], np.int64)
    table, boxes = model["read"](session.run(None, feed), model["side"])
    classes, scores = table.argmax(1), table.max(1)
    ratio = np.array([frame[0] / inner[0], frame[1] / inner[1]] * 2)
    boxes = (boxes - np.array(offset * 2)) * ratio
    boxes = np.clip(boxes, 0, np.array(frame * 2))
    good = (scores > KEEP) & ((boxes[:, 2:] - boxes[:, :2]).min(1) > 0)
    classes, scores, boxes = classes[good], scores[good], boxes[good]
    kept = range(len(scores)) if model.get("suppressed") else suppressed(classes, scores, boxes)
    return [[int(classes[k]), round(float(scores[k]), 4), *(round(float(v), 2) for v in boxes[k])] for k in kept]


def main(planes, models):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, model in MODELS.items():
        session = ort.InferenceSession(str(models / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
        pictures = {}
        for number, path in enumerate(sorted(planes.glob("*.i420"))):
            frame, planes_of, digest = read_planes(path)
            (seen, opencv), inner, offset = prepare(planes_of, frame, model)
            boxes = boxes_of(session, model, as_input(seen, model), frame, inner, offset)
            entry = {"planes": digest, "boxes": boxes}
            if number < PICTURES_SAMPLED:
                flat = as_input(opencv, model).ravel()
                entry["tensor"] = [round(float(flat[k * 7919 % flat.size]), 5) for k in range(SAMPLES)]
            pictures[path.stem.rsplit("_", 1)[0]] = entry
        lines = [f"{json.dumps(p)}: {json.dumps(e)}" for p, e in pictures.items()]
        head = f'"runtime": "{ort.__version__}", "grey": {json.dumps([float(v) for v in model["numbers"][1]])}'
        text = "{" + head + ', "pictures": {\n' + ",\n".join(lines) + "\n}}\n"
        (HERE / f"{name}.json").write_text(text)
        print(name, sum(len(e["boxes"]) for e in pictures.values()), "boxes")


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
