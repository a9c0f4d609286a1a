"""Training and validation pictures, read once into memory with what may be learnt from them.

A box is a label only if a person drew it or our simulator knows it. Everything uncertain is
an *ignore region*: neither label nor negative, for the classes it names; what is there is left
to the teacher (teach.py). Nothing of a `val` sequence is ever handed to training.
"""
import json
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from model import CLASSES

INDEX = {name: i for i, name in enumerate(CLASSES)}
LICENSED = ("rf_", "forklift_images_cv", "coco128")
RIDERS = [INDEX["person"], INDEX["two_wheeler"]]
VEHICLES = [i for i in range(len(CLASSES)) if i not in RIDERS]


@dataclass
class Sample:
    """One picture: BGR bytes, labels (`boxes`, `classes`), ignore regions as box + class bits."""

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    ignore: np.ndarray


def licensed(source):
    return source.startswith(LICENSED)


def bits(classes):
    """Class bits of an ignore region."""
    out = np.zeros(len(CLASSES), np.float32)
    out[list(classes)] = 1
    return out


def group(cls):
    """Classes that are easily taken for `cls`; an ignored box hides all of them."""
    return RIDERS if cls in RIDERS else VEHICLES


def corners(xywh):
    x, y, w, h = xywh
    return [x, y, x + w, y + h]


def iou(a, b):
    """IoU of every box of `a` with every box of `b`."""
    a, b = np.asarray(a, np.float32).reshape(-1, 1, 4), np.asarray(b, np.float32).reshape(1, -1, 4)
    wh = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(0)
    inter = wh.prod(-1)
    area = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return inter / np.maximum(area - inter, 1e-6)


def read_coco(path):
    """`(picture, its annotations, category names by id)` of a COCO file."""
    with open(path) as f:
        doc = json.load(f)
    by_image = defaultdict(list)
    for a in doc["annotations"]:
        by_image[a["image_id"]].append(a)
    names = {c["id"]: c["name"] for c in doc["categories"]}
    return [(i, by_image[i["id"]]) for i in doc["images"]], names


def truth(picture, annotations, names):
    """Labels and ignore regions of a real picture."""
    labels, ignore = [], []
    for a in annotations:
        name, box = names.get(a["category_id"]), corners(a["bbox"])
        if name is None or (a.get("iscrowd") and a.get("origin") != "pseudo"):
            ignore.append(box + list(bits(range(len(CLASSES)))))
        elif a.get("iscrowd") or a.get("origin") == "pseudo":
            ignore.append(box + list(bits(group(INDEX[name]))))
        else:
            labels.append(box + [INDEX[name]])
    missing = [INDEX[c] for c in CLASSES if c not in picture["complete_classes"]]
    if missing:
        ignore.append([0, 0, picture["width"], picture["height"]] + list(bits(missing)))
    return labels, ignore


def sample(path, labels, ignore, longest):
    image = cv2.imread(path)
    if image is None:
        raise FileNotFoundError(f"{path}: not a readable picture")
    r = min(1.0, longest / max(image.shape[:2]))
    if r < 1:
        image = cv2.resize(image, None, fx=r, fy=r, interpolation=cv2.INTER_AREA)
    labels = np.asarray(labels, np.float32).reshape(-1, 5)
    ignore = np.asarray(ignore, np.float32).reshape(-1, 4 + len(CLASSES))
    ignore[:, :4] *= r
    return Sample(image, labels[:, :4] * r, labels[:, 4].astype(np.int64), ignore)


def load(jobs):
    """Pictures decoded by a few threads; order kept so that a seed means the same run."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda j: sample(*j), jobs))


def real(root, split="train", longest=416):
    """Real pictures whose licence is stated."""
    pictures, names = read_coco(os.path.join(root, "annotations.json"))
    jobs = []
    for p, annotations in pictures:
        if p["split"] == split and licensed(p["source"]):
            jobs.append((os.path.join(root, p["file_name"]), *truth(p, annotations, names), longest))
    return load(jobs)


def simulated(root, longest=720, min_side=6.0, max_occluded=0.75):
    """Scenes of our simulator: every class complete; `iscrowd`, specks and the nearly hidden are ignored."""
    pictures, names = read_coco(os.path.join(root, "annotations.json"))
    jobs = []
    for p, annotations in pictures:
        labels, ignore = [], []
        for a in annotations:
            name, box = names.get(a["category_id"]), corners(a["bbox"])
            hidden = a.get("iscrowd") or a.get("occluded", 0) > max_occluded
            if name in INDEX and not hidden and min(a["bbox"][2:]) >= min_side:
                labels.append(box + [INDEX[name]])
            else:
                ignore.append(box + list(bits(range(len(CLASSES)))))
        jobs.append((find(root, p["file_name"]), labels, ignore, longest))
    return load(jobs)


def find(root, name):
    """The picture beside `annotations.json` or in `images/`."""
    beside = os.path.join(root, name)
    return beside if os.path.exists(beside) else os.path.join(root, "images", name)


def draw_weights(samples, rare=0.1):
    """How often to draw each picture: pictures of rare classes more often, by the root of the lack."""
    share = np.array([np.mean([(s.classes == c).any() for s in samples]) for c in range(len(CLASSES))])
    factor = np.maximum(1.0, np.sqrt(rare / np.maximum(share, 1e-3)))
    w = np.array([factor[s.classes].max() if len(s.classes) else 0.5 for s in samples])
    return w / w.sum()
