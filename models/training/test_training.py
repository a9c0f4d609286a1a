"""What a silent mistake would spoil: truth carried through augmentation, assignment, ignoring, export.

Run with `python -m unittest` in this folder; needs no data set.
"""
import os
import tempfile
import argparse
import unittest

import numpy as np
import onnx
import torch

import augment
import data
import export
import fast
import loss
import model as model_module
import optim
import teach
import train
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


class Teaching(unittest.TestCase):
    """One picture, a car labelled at the left; the teacher sees it as a truck, and a person at the right."""

    def setUp(self):
        self.cells, self.strides = grid((64, 128))
        self.centres = (self.cells + 0.5) * self.strides
        self.car, self.person = torch.tensor([8.0, 8.0, 56.0, 56.0]), torch.tensor([90.0, 8.0, 110.0, 56.0])
        self.pred = torch.cat((self.centres - 4, self.centres + 4), 1)
        self.found, self.scores = self.pred.clone(), torch.zeros(len(self.cells), 5)
        self.at_car, self.at_person = 3 * 16 + 3, 3 * 16 + 12
        self.found[self.at_car], self.scores[self.at_car, CLASSES.index("truck")] = self.car + 2, 0.8
        self.found[self.at_person], self.scores[self.at_person, CLASSES.index("person")] = self.person, 0.7

    def goals(self, unjudged):
        regions = torch.tensor([[0.0, 0.0, 128.0, 64.0, *data.bits(unjudged)]])
        target = self.car[None], torch.tensor([CLASSES.index("car")]), regions
        logits = torch.full((len(self.cells), len(CLASSES)), -4.0)
        return loss.goals(self.pred, logits, self.centres, self.strides, target, (self.found, self.scores))

    def test_truth_names_what_the_teacher_finds(self):
        goal, _, want, strength = self.goals([])
        self.assertAlmostEqual(goal[self.at_car, CLASSES.index("car")].item(), 0.8, places=5)
        self.assertEqual(goal[:, CLASSES.index("truck")].max().item(), 0)
        self.assertEqual(want[self.at_car].tolist(), self.car.tolist())
        self.assertAlmostEqual(strength[self.at_car].item(), 0.8, places=5)

    def test_the_teacher_decides_only_where_nobody_judged(self):
        person = CLASSES.index("person")
        goal, weight, _, strength = self.goals([])
        self.assertEqual((goal[self.at_person, person].item(), strength[self.at_person].item()), (0, 0))
        self.assertEqual(weight[self.at_person, person].item(), 1)
        goal, weight, want, _ = self.goals([person, CLASSES.index("container")])
        self.assertAlmostEqual(goal[self.at_person, person].item(), 0.7, places=5)
        self.assertEqual(want[self.at_person].tolist(), self.person.tolist())
        self.assertEqual(weight[:, person].min().item(), 1)
        self.assertEqual(weight[:, CLASSES.index("container")].max().item(), 0)

    def test_teacher_answers_any_batch_and_size_in_our_layout(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "teacher.onnx")
            onnx.save(small_teacher(), path)
            teacher = teach.Teacher(path)
            images = np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3), np.uint8)
            both, second = teacher([0, 1], images, fine=1), teacher([1], images[1:], fine=1)
        cells = len(grid((64, 96))[0])
        self.assertEqual((both.boxes.shape, both.scores.shape), ((2, cells, 4), (2, cells, teach.KNOWN)))
        self.assertEqual(list(both.planes), list(teach.BOUNDARIES))
        self.assertEqual((both.planes["s8"].shape, both.planes["to8"].shape), ((2, 8, 12, 1), (1, 8, 12, 1)))
        for name in ("to32", "s8.2"):  # each is the plane at its place in the graph: the small teacher counts
            ratio = both.planes[name].astype(float) / both.planes["to4"][:1]
            self.assertAlmostEqual(ratio.mean(), (teach.BOUNDARIES[name][1] + 1) / 3, delta=0.2)
        np.testing.assert_allclose(both.scores[1:], second.scores, rtol=1e-4)
        # The first cell sees the first 8x8 pixels: its box is their mean, its class the graph's bus.
        self.assertAlmostEqual(both.boxes[0, 0, 0] / images[0, :8, :8, 0].mean(), 1, places=3)
        self.assertEqual(set(both.scores.argmax(-1).ravel().tolist()), {CLASSES.index("bus")})


def small_teacher():
    """A graph shaped like a YOLOX export: fixed input, named output convolutions, batch 1 in its shapes."""
    make, rng = onnx.helper, np.random.default_rng(0)
    nodes, weights = [], []

    def constant(name, values):
        weights.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def convolve(source, name, kernel, bias):
        inputs = [source, constant(name + ".weight", np.float32(kernel)), constant(name + ".bias", np.float32(bias))]
        nodes.append(make.make_node("Conv", inputs, [name]))
        return name

    for level, stride in enumerate((8, 16, 32)):
        pooled = f"pool{level}"
        nodes.append(make.make_node("AveragePool", ["images"], [pooled], kernel_shape=[stride] * 2, strides=[stride] * 2))
        nodes.append(make.make_node("Gather", [pooled, constant(f"first{level}", [0])], [f"blue{level}"], axis=1))
        for kind in ("cls", "reg"):
            nodes.append(make.make_node("Concat", [f"blue{level}"] * 2, [f"{kind}_tower{level}"], axis=1))
        noise = lambda outputs: rng.normal(size=(outputs, 2, 1, 1)) * 1e-3
        box = convolve(f"reg_tower{level}", f"head.reg_preds.{level}", np.full((4, 2, 1, 1), 0.5), np.zeros(4))
        sure = convolve(f"reg_tower{level}", f"head.obj_preds.{level}", noise(1), [1.0])
        kinds = convolve(f"cls_tower{level}", f"head.cls_preds.{level}", noise(80), 4.0 * (np.arange(80) == 5))
        for name in (sure, kinds):
            nodes.append(make.make_node("Sigmoid", [name], [name + ".score"]))
        nodes.append(make.make_node("Concat", [box, sure + ".score", kinds + ".score"], [f"plane{level}"], axis=1))
        nodes.append(make.make_node("Reshape", [f"plane{level}", "shape"], [f"flat{level}"]))
    for kind in ("Mul", "Add"):  # the n-th of each kind is n + 1 times the first plane
        for n in range(104):
            inputs = ["blue0", constant(f"{kind}{n}.by", np.float32(n + 1))] if kind == "Mul" else [f"Mul{n}", "zero"]
            nodes.append(make.make_node(kind, inputs, [f"{kind}{n}"]))
    constant("zero", np.float32(0))
    constant("shape", [1, 85, -1])
    nodes.append(make.make_node("Concat", [f"flat{level}" for level in range(3)], ["all"], axis=2))
    nodes.append(make.make_node("Transpose", ["all"], ["output"], perm=[0, 2, 1]))
    info = lambda name, shape: make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    graph = make.make_graph(nodes, "t", [info("images", [1, 3, 64, 64])], [info("output", [1, 84, 85])], weights)
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 11)], ir_version=8)


class Imitation(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.model = Detector()
        self.images = torch.rand(2, 3, 64, 96) * 255
        self.planes = {}
        self.model(self.images, lambda name, plane: self.planes.setdefault(name, plane))

    def test_every_boundary_of_the_teacher_has_a_plane_of_its_width(self):
        widths = {name: c for name, (_, _, c) in teach.BOUNDARIES.items()}
        self.assertEqual({name: p.shape[1] for name, p in self.planes.items()}, widths)

    def test_a_block_learns_from_its_own_mistake_only(self):
        theirs, mine = {k: torch.randn_like(p) for k, p in self.planes.items()}, {}
        self.model(self.images, train.forced(theirs, mine))
        mine["s16"].square().mean().backward()
        moved = {n.split(".")[1] for n, p in self.model.named_parameters() if p.grad is not None and p.grad.any()}
        self.assertEqual(moved, {"s16"})

    def test_dead_channels_are_begun_anew_and_no_others(self):
        images = torch.randint(0, 255, (2, 64, 96, 3), dtype=torch.uint8)
        theirs = {}
        self.model(train.pixels(images), lambda name, plane: theirs.setdefault(name, plane.detach()))
        dead = self.model.backbone.to16.conv
        dead.bias.data[3] = -300.0
        before = dead.weight.detach().clone()
        self.assertEqual(train.revive(self.model, images, theirs), 1)
        changed = (dead.weight != before).flatten(1).any(1).nonzero()[:, 0]
        self.assertEqual(changed.tolist(), [3])
        self.assertGreater(dead.bias[3].item(), -100)

    def test_calibrated_layers_come_out_centred_with_spread_one(self):
        model_module.calibrate(self.model, lambda: self.model(self.images))
        seen = {}
        for name, part in self.model.named_modules():
            if isinstance(part, model_module.Conv):
                part.conv.register_forward_hook(lambda m, i, out, name=name: seen.update({name: out}))
        self.model.eval()(self.images)
        for name in ("backbone.stem", "backbone.s16.merge", "neck.lateral"):
            self.assertLess(seen[name].mean().abs(), 0.01)
            self.assertAlmostEqual(seen[name].std().item(), 1, places=1)

    def test_likeness_counts_spreads(self):
        like = loss.Likeness({"a": 2})
        theirs = torch.randn(4, 2, 16, 16) * torch.tensor([1.0, 5.0])[:, None, None]
        self.assertAlmostEqual(like("a", theirs.clone(), theirs).item(), 0)
        self.assertAlmostEqual(like("a", torch.zeros_like(theirs), theirs).item(), 1, places=0)


class Steps(unittest.TestCase):
    def test_orthogonal_makes_all_directions_equally_long(self):
        torch.manual_seed(0)
        for shape in ((8, 30), (30, 8)):
            sizes = torch.linalg.svdvals(optim.orthogonal(torch.randn(shape) * 1e-3))
            self.assertTrue(((sizes > 0.5) & (sizes < 1.3)).all(), sizes)

    def test_every_weight_has_one_optimiser(self):
        both, every = optim.Both(model := Detector(), 0.01), []
        for group in (*both.muon.param_groups, *both.adam.param_groups):
            every += [id(p) for p in group["params"]]
        self.assertEqual(sorted(every), sorted(id(p) for p in model.parameters()))


class Half(unittest.TestCase):
    def test_steps_in_half_precision_go_the_same_way(self):
        def slope(half, done):
            torch.manual_seed(3)
            args = argparse.Namespace(seed=3, stage="whole", late=0.0, lr=0.004, half=half)
            run, images = train.Run(args), torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
            target = (torch.tensor([[8.0, 8.0, 56.0, 60.0]]), torch.tensor([2]), torch.zeros(0, 4 + len(CLASSES)))
            sum(run.learn_whole(images, [target, target], None, done)[:1]).backward()
            return torch.cat([p.grad.flatten() for p in run.model.parameters() if p.grad is not None])

        exact, half, late = slope(False, 0.5), slope(True, 0.5), slope(True, 0.9)
        self.assertGreater(torch.cosine_similarity(exact, half, 0).item(), 0.98)
        self.assertFalse(torch.equal(exact, half))
        torch.testing.assert_close(exact, slope(False, 0.9))
        torch.testing.assert_close(exact, late)


class Fast(unittest.TestCase):
    def test_fast_c_agrees_with_pytorch(self):
        if fast.library() is None:
            self.skipTest("no C compiler")
        torch.manual_seed(0)
        x, back = torch.randn(2, 5, 7, 9).to(memory_format=torch.channels_last) * 4, torch.randn(2, 5, 7, 9)
        x[0, 0] *= 100
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        fast.silu(a).backward(back)
        torch.nn.functional.silu(b).backward(back)
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-3)
        weight, a.grad, b.grad = torch.rand(5), None, None
        ours, plain = fast.likeness(a, back, weight), ((b - back).square() * weight[:, None, None]).mean()
        ours.backward(), plain.backward()
        torch.testing.assert_close((ours, a.grad), (plain, b.grad))


class Truth(unittest.TestCase):
    def test_boxes_of_unlicensed_weights_are_ignored(self):
        picture = dict(width=100, height=100, human_classes=["car"], complete_classes=CLASSES[:5] + ["forklift"])
        rows = [
            dict(category_id=3, bbox=[10, 10, 30, 20], iscrowd=0, origin="source"),
            dict(category_id=1, bbox=[50, 10, 10, 30], iscrowd=0, origin="pseudo", teacher="yolo26n"),
        ]
        labels, ignore = data.truth(picture, rows, {1: "person", 3: "car"})
        self.assertEqual(labels, [[10, 10, 40, 30, 2]])
        self.assertEqual([r[:4] for r in ignore], [[50, 10, 60, 40], [0, 0, 100, 100]])
        self.assertEqual(np.flatnonzero(ignore[1][4:]).tolist(), [CLASSES.index("container")])


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

    def test_an_exported_file_gives_its_weights_back(self):
        model = Detector().eval()
        before = {name: weight.clone() for name, weight in model.state_dict().items()}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.onnx")
            export.write(model, 96, path, {"layout": "yolox"})
            again = export.read(path)
        self.assertEqual(sorted(again), sorted(before))
        for name, weight in before.items():
            torch.testing.assert_close(again[name], weight)

    def test_the_delivered_files_are_of_this_network(self):
        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
        a, b = (export.read(os.path.join(folder, name)) for name in ("gate.onnx", "gate-320.onnx"))
        for name, weight in a.items():
            torch.testing.assert_close(weight, b[name])


if __name__ == "__main__":
    unittest.main()
