"""From pictures in memory to training inputs: placing (single or mosaic) and weather.

Pure functions of their arguments and a numpy generator, so that a seed repeats a run.
"""
import cv2
import numpy as np

from data import Sample
from model import CLASSES

PAD = 114
MIN_SIDE = 4.0  # smaller boxes cannot be seen: ignored, not taught
MIN_VISIBLE = 0.3


def place(canvas, region, sample, scale, offset, flip):
    """Draws `sample` at `scale` and `offset` into `region` (x1, y1, x2, y2); returns its truth there."""
    x1, y1, x2, y2 = region
    image, h = sample.image, cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    # Only what can be seen is scaled: crop first, in source pixels.
    sx1, sy1 = max(0, int((x1 - offset[0]) / scale)), max(0, int((y1 - offset[1]) / scale))
    sx2 = min(image.shape[1], int((x2 - offset[0]) / scale) + 1)
    sy2 = min(image.shape[0], int((y2 - offset[1]) / scale) + 1)
    if sx2 - sx1 < 2 or sy2 - sy1 < 2:
        return empty()
    part = image[:, ::-1][sy1:sy2, sx1:sx2] if flip else image[sy1:sy2, sx1:sx2]
    w, t = max(1, round((sx2 - sx1) * scale)), max(1, round((sy2 - sy1) * scale))
    part = cv2.resize(np.ascontiguousarray(part), (w, t), interpolation=h)
    px, py = max(x1, round(sx1 * scale + offset[0])), max(y1, round(sy1 * scale + offset[1]))
    w, t = min(w, x2 - px), min(t, y2 - py)
    if w > 0 and t > 0:
        canvas[py : py + t, px : px + w] = part[:t, :w]
    return move(sample, region, scale, offset, flip)


def empty():
    return np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros((0, 4 + len(CLASSES)), np.float32)


def move(sample, region, scale, offset, flip):
    """Boxes of `sample` carried into `region`; those hardly visible become ignore regions."""

    def carry(boxes):
        b = boxes.copy()
        if flip:
            b[:, [0, 2]] = sample.image.shape[1] - b[:, [2, 0]]
        b = (b * scale + np.array([*offset, *offset])).astype(np.float32)
        area = (b[:, 2:] - b[:, :2]).prod(1)
        b[:, 0::2] = b[:, 0::2].clip(region[0], region[2])
        b[:, 1::2] = b[:, 1::2].clip(region[1], region[3])
        return b, (b[:, 2:] - b[:, :2]).prod(1) / np.maximum(area, 1e-6)

    boxes, visible = carry(sample.boxes)
    side = (boxes[:, 2:] - boxes[:, :2]).min(1) if len(boxes) else np.zeros(0)
    good = (visible >= MIN_VISIBLE) & (side >= MIN_SIDE)
    doubt = ~good & (visible > 0)
    ignore, seen = carry(sample.ignore[:, :4])
    ignore = np.concatenate((ignore, sample.ignore[:, 4:]), 1)[seen > 0]
    hidden = np.concatenate((boxes[doubt], np.ones((doubt.sum(), len(CLASSES)), np.float32)), 1)
    return boxes[good], sample.classes[good], np.concatenate((ignore, hidden)).astype(np.float32)


def single(sample, size, rng):
    """One picture: letterboxed as the product does it, or at a free scale and place."""
    canvas = np.full((size, size, 3), PAD, np.uint8)
    h, w = sample.image.shape[:2]
    fit = size / max(h, w)
    flip = rng.random() < 0.5
    if rng.random() < 0.25:
        return canvas, place(canvas, (0, 0, size, size), sample, fit, (0.0, 0.0), flip)
    # Up to a square that fills the input from the short side, and well beyond.
    scale = fit * np.exp(rng.uniform(np.log(0.5), np.log(1.6 * max(h, w) / min(h, w))))
    offset = tuple(rng.uniform(min(0, size - v * scale), max(0, size - v * scale)) for v in (w, h))
    return canvas, place(canvas, (0, 0, size, size), sample, scale, offset, flip)


def mosaic(samples, size, rng):
    """Four pictures around a random centre: many scales and small objects in one input."""
    canvas = np.full((size, size, 3), PAD, np.uint8)
    cx, cy = (int(v) for v in rng.uniform(0.3 * size, 0.7 * size, 2))
    regions = ((0, 0, cx, cy), (cx, 0, size, cy), (0, cy, cx, size), (cx, cy, size, size))
    parts = []
    for s, (x1, y1, x2, y2) in zip(samples, regions):
        h, w = s.image.shape[:2]
        cover = max((x2 - x1) / w, (y2 - y1) / h)
        scale = cover * np.exp(rng.uniform(np.log(0.6), np.log(1.8)))
        spare_x, spare_y = (x2 - x1) - w * scale, (y2 - y1) - h * scale
        offset = (x1 + rng.random() * spare_x, y1 + rng.random() * spare_y)
        parts.append(place(canvas, (x1, y1, x2, y2), s, scale, offset, rng.random() < 0.5))
    return canvas, tuple(np.concatenate(p) for p in zip(*parts))


def colour(image, rng):
    """Saturation, brightness, contrast and white balance."""
    if rng.random() < 0.5:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        keep = rng.uniform(0.0, 1.5)
        image = cv2.addWeighted(image, keep, grey, 1 - keep, 0)
    gain, shift = rng.uniform(0.7, 1.35), rng.uniform(-25, 25)
    ramp = np.arange(256, dtype=np.float32)
    table = np.stack([ramp * gain * rng.uniform(0.9, 1.1) + shift for _ in range(3)], 1)
    return cv2.LUT(image, table.clip(0, 255).astype(np.uint8)[None])


def night(image, rng):
    """Dark with sensor noise, sometimes the yellow of sodium lamps."""
    ramp = np.linspace(0, 1, 256) ** rng.uniform(1.4, 2.6) * 255 * rng.uniform(0.4, 0.9)
    tint = np.array([rng.uniform(0.5, 1.1), 1.0, rng.uniform(0.9, 1.2)])
    image = cv2.LUT(image, (ramp[:, None] * tint).clip(0, 255).astype(np.uint8)[None])
    return noise(image, rng, rng.uniform(3, 14))


def noise(image, rng, sigma):
    grain = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(int(rng.integers(1 << 30)))
    cv2.randn(grain, 0, sigma)
    return cv2.add(image, grain, dtype=cv2.CV_8U)


def rain(image, rng):
    """Bright slanted streaks and a veil."""
    streaks, slant = np.zeros(image.shape[:2], np.uint8), rng.uniform(-0.4, 0.4)
    for _ in range(int(rng.integers(60, 250))):
        x, y = rng.integers(0, image.shape[1]), rng.integers(0, image.shape[0])
        n = rng.integers(6, 22)
        cv2.line(streaks, (int(x), int(y)), (int(x + slant * n), int(y + n)), int(rng.integers(60, 160)), 1)
    veil = cv2.addWeighted(image, rng.uniform(0.7, 0.95), np.full_like(image, 150), rng.uniform(0.0, 0.2), 0)
    return cv2.add(veil, cv2.merge([streaks] * 3))


def blur(image, rng):
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.6))
    n = int(rng.integers(3, 8))
    return cv2.blur(image, (n, 1) if rng.random() < 0.7 else (1, n))


def compress(image, rng):
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 75))])
    return cv2.imdecode(data, cv2.IMREAD_COLOR) if ok else image


MILD = (0.8, colour), (0.12, blur), (0.2, compress)
HARSH = (0.15, night), (0.06, rain)


def weather(image, effects, rng):
    for chance, effect in effects:
        if rng.random() < chance:
            image = effect(image, rng)
    return image


def training_input(draw, size, mosaic_share, rng):
    """One input: picture `[size, size, 3]`, what a teacher should see of it, and `(boxes, classes, ignore)`.

    The teacher sees what the network sees, so that it can be imitated, but not night and rain,
    which would blind it. `draw()` gives samples.
    """
    if rng.random() < mosaic_share:
        image, targets = mosaic([draw() for _ in range(4)], size, rng)
    else:
        image, targets = single(draw(), size, rng)
    seen = weather(image, MILD, rng)
    return weather(seen, HARSH, rng), seen, targets


__all__ = ["Sample", "training_input"]
