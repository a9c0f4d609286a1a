"""Boxes of a licensed teacher (YOLOX-nano, Apache-2.0) on the licensed training pictures.

Writes `{file: [[x1, y1, x2, y2, class, score], ...]}` for data.py, which decides what is
a label and what an ignore region. Only classes the teacher knows: no container, no forklift.
"""
import argparse
import json
import os

import cv2

from data import TEACHER_DOUBT, licensed, read_coco
from detect import COCO_TO_OURS, Onnx


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--data", required=True)
    ap.add_argument("--teacher", required=True)
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    teacher = Onnx(args.teacher, classes=COCO_TO_OURS, threads=2)
    pictures, _ = read_coco(os.path.join(args.data, "annotations.json"))
    taught = {}
    for p, _ in pictures:
        if p["split"] == "train" and licensed(p["source"]):
            boxes, scores, classes = teacher(cv2.imread(os.path.join(args.data, p["file_name"])), TEACHER_DOUBT)
            taught[p["file_name"]] = [
                [round(float(v), 1) for v in b] + [int(c), round(float(s), 3)]
                for b, s, c in zip(boxes, scores, classes)
            ]
    with open(args.out, "w") as f:
        json.dump(taught, f)
    print(f"{sum(map(len, taught.values()))} boxes on {len(taught)} pictures")


if __name__ == "__main__":
    main()
