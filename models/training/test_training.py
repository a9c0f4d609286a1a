"""What a silent mistake would spoil: truth carried through augmentation, assignment, ignoring, export.

Run with `python -m unittest` in this folder; needs no data set.
"""
import os
import tempfile
import unittest

import numpy as np
import torch

import augment
import data
import export
from loss import assign, detection_loss, ignored, overlap
from model import CLASSES, Detector, as_yolox, grid


def scene():
    """A black picture with one white car, and a region where people are not labelled."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[60:120, 90:180] = 255
    region = [[200, 0, 300, 200, *data.bits([0])]]
    return data.Sample(image, np.array([[90, 60, 180, 120]], np.float32), np.array([2]), np.array(region, np.float32))


class Placing(unittest.TestCase):
    def test_boxes_follow_the_pixels(self):
        for seed in range(30):
            rng = np.random.default_rng(seed)
            for image, (boxes, _, _) in (augment.single(scene(), 256, rng), augment.mosaic([scene()] * 4, 256, rng)):
                for x1, y1, x2, y2 in boxes:
                    inside = image[int(y1) + 2 : int(y2) - 1, int(x1) + 2 : int(x2) - 1]
                    self.assertGreater(inside.mean() if inside.size else 255, 230)

    def test_hidden_objects_become_ignore_regions(self):
        canvas = np.zeros((64, 64, 3), np.uint8)
        boxes, _, ignore = augment.place(canvas, (0, 0, 64, 64), scene(), 1.0, (-175.0, -60.0), False)
        self.assertEqual(len(boxes), 0)
        self.assertEqual(ignore[:, 4:].sum(1).tolist(), [1.0, float(len(CLASSES))])


class Assignment(unittest.TestCase):
    def setUp(self):
        self.cells, self.strides = grid((128, 128))
        self.centres = (self.cells + 0.5) * self.strides
        self.pred = torch.cat((self.centres - self.strides, self.centres + self.strides), 1)
        self.logits = torch.full((len(self.cells), len(CLASSES)), -4.0)

    def run_on(self, boxes):
        boxes = torch.tensor(boxes)
        return assign(self.pred, self.logits, self.centres, self.strides, boxes, torch.zeros(len(boxes), dtype=torch.long))

    def test_every_object_gets_a_cell_of_its_own(self):
        cell, owner, _ = self.run_on([[1.0, 1.0, 6.0, 6.0], [20.0, 20.0, 110.0, 100.0], [60.0, 3.0, 64.0, 9.0]])
        self.assertEqual(set(owner.tolist()), {0, 1, 2})
        self.assertEqual(len(set(cell.tolist())), len(cell))

    def test_ignored_cells_give_no_gradient_but_answering_cells_do(self):
        weight = ignored(self.centres, torch.tensor([[0.0, 0.0, 64.0, 128.0, *data.bits([5])]]), len(CLASSES))
        left = self.centres[:, 0] < 64
        self.assertEqual(weight[left, 5].sum().item(), 0.0)
        self.assertTrue((weight[:, :5] == 1).all() and (weight[~left] == 1).all())
        raw = torch.full((1, len(self.cells), 4 + len(CLASSES)), 0.0, requires_grad=True)
        everything = torch.tensor([[0.0, 0.0, 128.0, 128.0, *[1.0] * len(CLASSES)]])
        target = (torch.tensor([[30.0, 30.0, 60.0, 70.0]]), torch.tensor([2]), everything)
        cls, box, n = detection_loss(raw, [target], self.cells, self.strides)
        (cls + box).backward()
        touched = (raw.grad[0, :, 4:] != 0).any(1).sum().item()
        self.assertTrue(0 < touched <= n)

    def test_overlap_of_known_boxes(self):
        a, b = torch.tensor([0.0, 0.0, 10.0, 10.0]), torch.tensor([5.0, 0.0, 15.0, 10.0])
        self.assertAlmostEqual(overlap(a, b).item(), 1 / 3, places=5)
        self.assertAlmostEqual(overlap(a, b, generalised=True).item(), 1 / 3, places=5)
        self.assertLess(overlap(a, b + 20, generalised=True).item(), 0)


class Truth(unittest.TestCase):
    def test_only_licensed_teachers_label(self):
        picture = dict(width=100, height=100, human_classes=["car"], complete_classes=CLASSES[:5] + ["forklift"])
        rows = [
            dict(category_id=3, bbox=[10, 10, 30, 20], iscrowd=0, origin="source"),
            dict(category_id=1, bbox=[50, 10, 10, 30], iscrowd=0, origin="pseudo", teacher="yolo26n"),
        ]
        taught = [[70, 10, 80, 40, 0, 0.9], [85, 10, 95, 40, 0, 0.3], [0, 60, 20, 80, 2, 0.9]]
        labels, ignore = data.truth(picture, rows, {1: "person", 3: "car"}, taught)
        self.assertEqual(labels, [[10, 10, 40, 30, 2], [70, 10, 80, 40, 0]])
        self.assertEqual([r[:4] for r in ignore], [[50, 10, 60, 40], [85, 10, 95, 40], [0, 0, 100, 100]])
        self.assertEqual(np.flatnonzero(ignore[2][4:]).tolist(), [CLASSES.index("container")])


class Export(unittest.TestCase):
    def test_product_of_the_columns_is_the_trained_score(self):
        raw = torch.randn(2, 50, 4 + len(CLASSES)) * 4
        out = as_yolox(raw)
        torch.testing.assert_close(out[..., 4:5] * out[..., 5:], raw[..., 4:].sigmoid())
        self.assertLessEqual(out[..., 4:].max().item(), 1 + 1e-6)

    def test_onnx_agrees_and_a_wrong_file_is_refused(self):
        model = Detector().eval()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.onnx")
            export.write(model, 96, path, {"layout": "yolox"})
            probe = torch.rand(1, 3, 96, 96) * 255
            with self.assertRaises(SystemExit):
                export.agree(path, probe.numpy(), np.ones((1, 189, 12), np.float32) * 3)


if __name__ == "__main__":
    unittest.main()
