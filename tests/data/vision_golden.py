"""Boxes of real models on labelled pictures, decoded without gatewatch:
`vision_golden.py ASSETS PICTURE... > vision_golden.json`, pictures relative to ASSETS.

Needs numpy, opencv-python and onnxruntime. The picture goes through I420 as a camera's would; per anchor the best class
counts; suppression is per class at IoU 0.6, score floor 0.25.
"""
import json, sys
import cv2, numpy as np, onnxruntime as ort

ASSETS = sys.argv[1]
PICTURES = sys.argv[2:]
MODELS = {"yolox_nano_416": ("yolox", 416), "yolov8n_int8": ("yolov8", 640), "yolo11n_int8": ("yolov8", 320)}
FLOOR, IOU = 0.25, 0.6


def camera_view(path):
    im = cv2.imread(path)
    h, w = im.shape[0] // 2 * 2, im.shape[1] // 2 * 2
    yuv = cv2.cvtColor(im[:h, :w].copy(), cv2.COLOR_BGR2YUV_I420)
    return cv2.cvtColor(yuv, cv2.COLOR_YUV2BGR_I420)


def run(session, kind, n, im):
    h, w = im.shape[:2]
    r = min(n / w, n / h)
    nw, nh = round(w * r), round(h * r)
    dx, dy = (0, 0) if kind == "yolox" else ((n - nw) // 2, (n - nh) // 2)
    canvas = np.full((n, n, 3), 114, np.uint8)
    canvas[dy:dy + nh, dx:dx + nw] = cv2.resize(im, (nw, nh))
    x = canvas.astype(np.float32) if kind == "yolox" else canvas[:, :, ::-1].astype(np.float32) / 255
    out = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x.transpose(2, 0, 1)[None])})[0][0]
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
        im = camera_view(f"{ASSETS}/{picture}")
        h, w = im.shape[:2]
        boxes, scores, classes = run(session, kind, n, im)
        kept = suppressed(boxes, scores, classes)
        found = [[int(classes[i]), round(float(scores[i]), 4)]
                 + [round(float(v), 2) for v in np.clip(boxes[i], 0, [w, h, w, h])] for i in kept]
        result.append({"model": name, "picture": picture, "boxes": found})
print("[\n" + ",\n".join(json.dumps(r) for r in result) + "\n]")
