"""Answers and planes of a licensed teacher (YOLOX-nano, Apache-2.0) for the very pictures the network sees.

Teacher and network share strides, cell order, box coding and the widths between blocks, so the
teacher's cells teach ours directly, and its planes can stand in for ours between blocks.
"""
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from detect import COCO_TO_OURS, session

KNOWN = max(COCO_TO_OURS.values()) + 1  # classes the teacher knows come first in CLASSES

# Where the teacher's graph has what `Detector` shows at a boundary: the how-manieth product
# (each SiLU ends in one) or sum (residuals) of the graph, and how many channels.
BOUNDARIES = {
    "to4": ("Mul", 2, 32), "s4": ("Mul", 8, 32),
    "to8": ("Mul", 10, 64), "s8.1": ("Add", 1, 32), "s8.2": ("Add", 2, 32), "s8": ("Mul", 22, 64),
    "to16": ("Mul", 24, 128), "s16.1": ("Add", 4, 64), "s16.2": ("Add", 5, 64), "s16": ("Mul", 36, 128),
    "to32": ("Mul", 38, 256), "pool": ("Mul", 40, 256),
    "lateral": ("Mul", 47, 128), "reduce": ("Mul", 54, 64), "n8": ("Mul", 60, 64), "n16": ("Mul", 68, 128),
    **{f"head{s}{part}": ("Mul", first + i, 64)
       for s, first in ((8, 77), (16, 86), (32, 95))
       for part, i in ((".stem", 0), (".cls.mid", 2), (".cls", 4), (".box.mid", 6), (".box", 8))},
}
FINE = "to4", "s4", "to8", "s8.1", "s8.2"  # many cells: few pictures say enough


@dataclass
class Taught:
    """What the teacher says about the pictures `rows` of a batch; a cell a row of each array.

    `boxes` [rows, cells, 4] raw (as the network codes them), `scores` [rows, cells, KNOWN] 0..1,
    `planes`: by boundary, [rows, height, width, channels]; the FINE ones of the first pictures only.
    """

    rows: object
    boxes: object
    scores: object
    planes: dict

    def tensors(self):
        """The same with tensors for arrays."""
        rows, boxes, scores = map(torch.from_numpy, (self.rows, self.boxes, self.scores))
        return Taught(rows, boxes, scores, {k: torch.from_numpy(p) for k, p in self.planes.items()})


def any_size(model):
    """The graph for any batch and input size, with the planes of BOUNDARIES as further outputs."""
    graph = model.graph
    for dim, name in zip((0, 2, 3), ("batch", "height", "width")):
        graph.input[0].type.tensor_type.shape.dim[dim].dim_param = name
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in shapes:  # [1, columns, -1]: 0 keeps whatever batch comes in
            shape = numpy_helper.to_array(tensor).copy()
            shape[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    made = {kind: [n.output[0] for n in graph.node if n.op_type == kind] for kind in ("Mul", "Add")}
    for kind, index, _ in BOUNDARIES.values():
        graph.output.append(onnx.helper.make_tensor_value_info(made[kind][index], onnx.TensorProto.FLOAT, None))
    return model


class Teacher:
    def __init__(self, path):
        self.session = session(any_size(onnx.load(path)).SerializeToString())
        self.input = self.session.get_inputs()[0].name

    def __call__(self, rows, images, fine):
        """`Taught` about `images` [n, height, width, 3] BGR bytes, the pictures `rows` of a batch.

        `fine`: of how many pictures the FINE planes are wanted.
        """
        x = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)
        out, *planes = self.session.run(None, {self.input: x})
        ours = np.zeros((*out.shape[:2], KNOWN), np.float32)
        for theirs, c in COCO_TO_OURS.items():
            np.maximum(ours[..., c], out[..., 4] * out[..., 5 + theirs], out=ours[..., c])
        planes = {k: p[:fine] if k in FINE else p for k, p in zip(BOUNDARIES, planes)}
        planes = {k: p.transpose(0, 2, 3, 1).astype(np.float16, order="C") for k, p in planes.items()}
        return Taught(np.asarray(rows), out[..., :4].copy(), ours, planes)
