"""Running ONNX detectors for teaching and evaluation: YOLOX layout and NanoDet layout.

The product's own pre- and post-processing is in Rust; this is the independent reference.
"""
import cv2
import numpy as np
import onnxruntime as ort

# COCO-80 index to ours: person, bicycle, car, motorcycle, bus, truck.
COCO_TO_OURS = {0: 0, 1: 1, 2: 2, 3: 1, 5: 3, 7: 4}


def session(path, threads=1):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def suppress(boxes, scores, classes, limit, keep=300):
    """Non-maximum suppression within each class."""
    shifted = boxes + classes[:, None] * 8192.0
    xywh = np.concatenate((shifted[:, :2], shifted[:, 2:] - shifted[:, :2]), 1)
    order = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, limit)
    return np.array(order, int).reshape(-1)[:keep]


class Onnx:
    """A YOLOX-layout model; `classes` maps the model's indices to ours (others dropped)."""

    iou_limit = 0.65

    def __init__(self, path, classes=None, threads=1):
        self.session = session(path, threads)
        self.input = self.session.get_inputs()[0]
        self.size = self.input.shape[-1]
        self.classes = classes

    def prepare(self, image):
        r = min(self.size / image.shape[0], self.size / image.shape[1])
        w, h = round(image.shape[1] * r), round(image.shape[0] * r)
        canvas = np.full((self.size, self.size, 3), 114, np.uint8)
        canvas[:h, :w] = cv2.resize(image, (w, h))
        return canvas.transpose(2, 0, 1)[None].astype(np.float32), (r, r)

    def decode(self, outputs):
        o, first = outputs[0][0], 0
        boxes = np.empty((len(o), 4), np.float32)
        for s in (8, 16, 32):
            n = self.size // s
            y, x = np.divmod(np.arange(n * n), n)
            part = o[first : first + n * n]
            centre, half = (part[:, :2] + np.stack((x, y), 1)) * s, np.exp(part[:, 2:4]) * s / 2
            boxes[first : first + n * n] = np.concatenate((centre - half, centre + half), 1)
            first += n * n
        return boxes, o[:, 4:5] * o[:, 5:]

    def __call__(self, image, threshold):
        """Boxes in picture pixels, scores, our class indices."""
        x, (rx, ry) = self.prepare(image)
        boxes, scores = self.decode(self.session.run(None, {self.input.name: x}))
        if self.classes:
            ours = np.zeros((len(scores), max(self.classes.values()) + 1), np.float32)
            for theirs, c in self.classes.items():
                ours[:, c] = np.maximum(ours[:, c], scores[:, theirs])
            scores = ours
        cell, cls = np.where(scores >= threshold)
        boxes, scores = boxes[cell] / [rx, ry, rx, ry], scores[cell, cls]
        top = np.argsort(-scores)[:3000]
        boxes, scores, cls = boxes[top], scores[top], cls[top]
        if len(boxes):
            keep = suppress(boxes, scores, cls, self.iou_limit)
            boxes, scores, cls = boxes[keep], scores[keep], cls[keep]
        edge = [image.shape[1], image.shape[0]] * 2
        return boxes.clip(0, edge), scores, cls


class NanoDet(Onnx):
    """NanoDet-m layout: class scores and distance distributions per stride; plain resize."""

    iou_limit = 0.6

    def prepare(self, image):
        x = cv2.resize(image, (self.size, self.size)).astype(np.float32)
        x = (x - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
        r = (self.size / image.shape[1], self.size / image.shape[0])
        return x.transpose(2, 0, 1)[None].astype(np.float32), r

    def decode(self, outputs):
        boxes, scores = [], []
        cls = [o for o in outputs if o.shape[-1] == 80]
        dist = [o for o in outputs if o.shape[-1] == 32]
        for c, d, s in zip(cls, dist, (8, 16, 32)):
            d = np.exp(d.reshape(-1, 4, 8) - d.reshape(-1, 4, 8).max(2, keepdims=True))
            d = (d / d.sum(2, keepdims=True)) @ np.arange(8) * s
            y, x = np.divmod(np.arange(len(d)), self.size // s)
            centre = np.stack((x, y), 1) * s + 0.5 * (s - 1)
            boxes.append(np.concatenate((centre - d[:, :2], centre + d[:, 2:]), 1))
            scores.append(c.reshape(-1, 80))
        return np.concatenate(boxes), np.concatenate(scores)
