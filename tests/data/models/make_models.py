"""Two tiny graphs for the suite: `make_models.py` writes them beside itself. Needs the package onnx.

Their one box is the upper left quarter of whatever input they are given, and its score is the mean of the first channel:
so a test sees whether size, type and order of channels arrived as they should.
"""
import pathlib

import onnx
from onnx import TensorProto as T
from onnx import helper as h

HERE = pathlib.Path(__file__).parent


def number(name, values, kind=T.FLOAT, shape=None):
    values = values if isinstance(values, list) else [values]
    return h.make_tensor(name, kind, shape or [len(values)], values)


def first_channel_mean(picture, axis, axes):
    return [
        h.make_node("Gather", [picture, "zero"], ["channel"], axis=axis),
        h.make_node("ReduceMean", ["channel"], ["mean"], axes=axes, keepdims=0),
    ]


def save(name, nodes, inputs, outputs, numbers, metadata=()):
    graph = h.make_graph(nodes, name, inputs, outputs, numbers)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8)
    for key, value in metadata:
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    onnx.save(model, HERE / f"{name}.onnx")


def half_rows():
    """float16 in and out, [1,3,?,?] to [1,1,6]: corners in pixels, score, class 1."""
    nodes = [
        h.make_node("Shape", ["images"], ["shape"]),
        h.make_node("Gather", ["shape", "width_height"], ["size"], axis=0),
        h.make_node("Cast", ["size"], ["pixels"], to=T.FLOAT16),
        h.make_node("Mul", ["pixels", "half"], ["corner"]),
        *first_channel_mean("images", 1, [2, 3]),
        h.make_node("Reshape", ["mean", "one_number"], ["score"]),
        h.make_node("Concat", ["origin", "corner", "score", "class"], ["row"], axis=0),
        h.make_node("Reshape", ["row", "rows"], ["output"]),
    ]
    numbers = [
        number("zero", 0, T.INT64),
        number("width_height", [3, 2], T.INT64),
        number("half", 0.5, T.FLOAT16),
        number("origin", [0.0, 0.0], T.FLOAT16),
        number("class", 1.0, T.FLOAT16),
        number("one_number", [1], T.INT64),
        number("rows", [1, 1, 6], T.INT64),
    ]
    picture = h.make_tensor_value_info("images", T.FLOAT16, ["batch", 3, "height", "width"])
    output = h.make_tensor_value_info("output", T.FLOAT16, [1, 1, 6])
    save("half_rows", nodes, [picture], [output], numbers, [("names", "['truck', 'container']"), ("imgsz", "[96, 160]")])


def bytes_ssd():
    """uint8 in, [1,?,?,3]: boxes (top, left, bottom, right in fractions), classes from 1, scores, their number."""
    nodes = [
        h.make_node("Cast", ["image_tensor"], ["numbers"], to=T.FLOAT),
        *first_channel_mean("numbers", 3, [1, 2, 3]),
        h.make_node("Mul", ["mean", "unit"], ["part"]),
        h.make_node("Concat", ["part", "weak"], ["both"], axis=0),
        h.make_node("Reshape", ["both", "two"], ["detection_scores"]),
        h.make_node("Identity", ["quarters"], ["detection_boxes"]),
        h.make_node("Identity", ["kinds"], ["detection_classes"]),
        h.make_node("Identity", ["count"], ["num_detections"]),
    ]
    numbers = [
        number("zero", 0, T.INT64),
        number("unit", 1 / 255),
        number("weak", 0.9),
        number("two", [1, 2], T.INT64),
        number("quarters", [0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0], shape=[1, 2, 4]),
        number("kinds", [8.0, 1.0], shape=[1, 2]),
        number("count", 1.0),
    ]
    picture = h.make_tensor_value_info("image_tensor", T.UINT8, [1, "height", "width", 3])
    value = lambda name, shape: h.make_tensor_value_info(name, T.FLOAT, shape)
    outputs = [
        value("detection_boxes", [1, 2, 4]),
        value("detection_classes", [1, 2]),
        value("detection_scores", [1, 2]),
        value("num_detections", [1]),
    ]
    save("bytes_ssd", nodes, [picture], outputs, numbers)


half_rows()
bytes_ssd()
