"""Dense answers of a licensed teacher (YOLOX-nano, Apache-2.0): every cell's box, scores and features.

Teacher and network share strides, cell order and box coding, so one's cells teach the
other's directly, on the very picture the network sees (but for night and rain).
"""
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from detect import COCO_TO_OURS, session

KNOWN = max(COCO_TO_OURS.values()) + 1  # classes the teacher knows come first in CLASSES


@dataclass
class Taught:
    """What the teacher says about the pictures `rows` of a batch; a cell a row of each array.

    `boxes` [rows, cells, 4] raw (as the network codes them), `scores` [rows, cells, KNOWN] 0..1,
    `features`: for each stride [rows, channels, height, width] of its backbone, and of the towers
    before its class outputs and its box outputs, in the order of `Detector.levels`.
    """

    rows: object
    boxes: object
    scores: object
    features: list

    def tensors(self):
        """The same with tensors for arrays."""
        rows, boxes, scores = map(torch.from_numpy, (self.rows, self.boxes, self.scores))
        return Taught(rows, boxes, scores, [torch.from_numpy(f) for f in self.features])


def any_size(model):
    """The graph for any batch and input size, with the features of every stride as further outputs."""
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
    for name in features(graph):
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return model


def features(graph):
    """Names of backbone, class tower and box tower of every stride."""
    reads = {i: node for node in graph.node for i in node.input}
    makes = {o: node for node in graph.node for o in node.output}
    scaled = [node for node in graph.node if node.op_type in ("Resize", "Upsample")]
    # The neck scales up what a 1x1 convolution made of the coarsest stage, joins the next finer
    # stage to it, and does so once more.
    source = makes[scaled[0].input[0]]
    while source.op_type != "Conv":
        source = makes[source.input[0]]
    stages = [source.input[0], *(reads[node.output[0]].input[1] for node in scaled)]
    for level, stage in enumerate(reversed(stages)):
        yield stage
        for kind in ("cls", "reg"):
            yield reads[f"head.{kind}_preds.{level}.weight"].input[0]


class Teacher:
    def __init__(self, path):
        self.session = session(any_size(onnx.load(path)).SerializeToString())
        self.input = self.session.get_inputs()[0].name

    def __call__(self, rows, images):
        """`Taught` about `images` [n, height, width, 3] BGR bytes, the pictures `rows` of a batch."""
        x = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)
        out, *features = self.session.run(None, {self.input: x})
        ours = np.zeros((*out.shape[:2], KNOWN), np.float32)
        for theirs, c in COCO_TO_OURS.items():
            np.maximum(ours[..., c], out[..., 4] * out[..., 5 + theirs], out=ours[..., c])
        return Taught(np.asarray(rows), out[..., :4].copy(), ours, [f.astype(np.float16) for f in features])
