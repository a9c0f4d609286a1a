"""Boxes of real models on labelled pictures, decoded without gatewatch:
`vision_golden.py ASSETS PICTURE... > vision_golden.json`, pictures relative to ASSETS.

Needs numpy, opencv-python and onnxruntime. The picture goes through I420 as a camera's would, and from its planes to the
input in floating point (pictures up to twice the input, where this is plain bilinear): rounding to bytes on the way moves
scores by up to 0.03. Per anchor the best class counts; suppression is per class at IoU 0.6, score floor 0.25.
"""
import json, sys
import cv2, numpy as np, onnxruntime as ort

ASSETS = sys.argv[1]
PICTURES = sys.argv[2:]
MODELS = {"yolox_nano_416": ("yolox", 416), "yolov8n_int8": ("yolov8", 640), "yolo11n_int8": ("yolov8", 320)}
FLOOR, IOU = 0.25, 0.6


def planes(path):
    """Y, U, V as a camera would deliver them, chroma halved."""
    im = cv2.imread(path)
    h, w = im.shape[0] // 2 * 2, im.shape[1] // 2 * 2
    flat = cv2.cvtColor(im[:h, :w].copy(), cv2.COLOR_BGR2YUV_I420).reshape(-1)
    n = h * w
    return flat[:n].reshape(h, w), flat[n:n + n // 4].reshape(h // 2, w // 2), flat[n + n // 4:].reshape(h // 2, w // 2)


def tensor(yuv, size, at, n, rgb):
    """The planes resized in floating point, then BT.601 studio range to colours: no rounding to bytes on the way."""
    y, u, v = (cv2.resize(p.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) for p in yuv)
    y, u, v = 255 / 219 * (y - 16), (u - 128) / 112 * 127.5, (v - 128) / 112 * 127.5
    r, b = y + 1.402 * v, y + 1.772 * u
    g = (y - 0.299 * r - 0.114 * b) / 0.587
    canvas = np.full((n, n, 3), 114, np.float32)
    canvas[at[1]:at[1] + size[1], at[0]:at[0] + size[0]] = np.clip(np.dstack([r, g, b] if rgb else [b, g, r]), 0, 255)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None])


def run(session, kind, n, yuv):
    h, w = yuv[0].shape
    r = min(n / w, n / h)
    nw, nh = round(w * r), round(h * r)
    dx, dy = (0, 0) if kind == "yolox" else ((n - nw) // 2, (n - nh) // 2)
    x = tensor(yuv, (nw, nh), (dx, dy), n, kind != "yolox") / (1 if kind == "yolox" else 255)
    out = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})[0][0]
    if kind == "yolox":
        grid = [(gx, gy, s) for s in (8, 16, 32) for gy in range(n // s) for gx in range(n // s)]
        g = np.array(grid, np.float32)
        c = (out[:, :2] + g[:, :2]) * g[:, 2:]
        wh = np.exp(out[:, 2:4]) * g[:, 2:]
        scores = out[:, 4:5] * out[:, 5:]
    else:
        out = out.T
        c, wh, scores = out[:, :2], out[:, 2:4], out[:, 4:]
    boxes = np.c_[c - wh / 2, c + wh / 2]
    boxes = (boxes - [dx, dy, dx, dy]) / [nw / w, nh / h, nw / w, nh / h]
    return boxes, scores.max(1), scores.argmax(1)


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def suppressed(boxes, scores, classes):
    kept = []
    for i in np.argsort(-scores):
        if scores[i] < FLOOR:
            break
        if all(classes[k] != classes[i] or iou(boxes[k], boxes[i]) <= IOU for k in kept):
            kept.append(i)
    return kept


result = []
for name, (kind, n) in MODELS.items():
    session = ort.InferenceSession(f"{ASSETS}/models/{name}.onnx", providers=["CPUExecutionProvider"])
    for picture in PICTURES:
        yuv = planes(f"{ASSETS}/{picture}")
        h, w = yuv[0].shape
        boxes, scores, classes = run(session, kind, n, yuv)
        kept = suppressed(boxes, scores, classes)
        found = [[int(classes[i]), round(float(scores[i]), 4)]
                 + [round(float(v), 2) for v in np.clip(boxes[i], 0, [w, h, w, h])] for i in kept]
        result.append({"model": name, "picture": picture, "boxes": found})
print("[\n" + ",\n".join(json.dumps(r) for r in result) + "\n]")
