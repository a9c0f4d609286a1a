"""A checkpoint's averaged weights as ONNX: YOLOX columns, facts in the metadata; and back, to train on from a delivered file.

Input `images` [1, 3, S, S] f32 BGR 0..255; output `output` [1, cells, 5 + classes].
Refuses to write a file whose answers differ from the network's.
"""
import argparse
import hashlib
import json
import os

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from model import CLASSES, Detector, as_yolox, flat

OPSET = 17
MEAN, SCALE = 114.0, 58.0  # of Detector.forward


class Exported(nn.Module):
    """The network from raw pixels to YOLOX columns, nothing left to normalise outside."""

    def __init__(self, model):
        super().__init__()
        self.backbone, self.neck, self.heads = model.backbone, model.neck, model.heads

    def forward(self, images):
        # Raw pixels minus the pad: the subtraction keeps the zero padding of the first
        # convolution at "pad grey", which no bias could do at the picture's edge.
        levels = self.neck(*self.backbone(images - MEAN))
        return as_yolox(flat([head(f) for head, f in zip(self.heads, levels)]))


def network(checkpoint):
    """The averaged network of a checkpoint, ready to be asked."""
    model = Detector()
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    return model.eval()


def shorten(graph):
    """Numbers for names, but of input and output: the exporter's long ones are 2 % of the file."""
    keep = {v.name for v in (*graph.input, *graph.output)} | {""}
    short = {}
    new = lambda name: name if name in keep else short.setdefault(name, str(len(short)))
    for tensor in graph.initializer:
        tensor.name = new(tensor.name)
    del graph.value_info[:]
    for node in graph.node:
        node.name = ""
        node.input[:] = [new(n) for n in node.input]
        node.output[:] = [new(n) for n in node.output]


@torch.no_grad()
def write(model, size, path, facts):
    reference = as_yolox(model(probe := torch.rand(1, 3, size, size) * 255)).numpy()
    stem = model.backbone.stem.conv
    stem.weight.data = stem.weight / SCALE
    torch.onnx.export(
        Exported(model), (probe,), path, opset_version=OPSET, dynamo=False,
        input_names=["images"], output_names=["output"],
    )
    doc = onnx.load(path)
    shorten(doc.graph)
    onnx.helper.set_model_props(doc, facts)
    onnx.checker.check_model(doc)
    onnx.save(doc, path)
    return agree(path, probe.numpy(), reference)


@torch.no_grad()
def read(path):
    """The weights of a file that `write` made, by the names of the network. Both run through their convolutions in the same order."""
    graph = onnx.load(path).graph
    values = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.initializer}
    # What is the same twice is there once, and called by another name.
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    nodes = [n for n in graph.node if n.op_type == "Conv"]
    model, met = Detector().eval(), []
    convs = {m: name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    hooks = [m.register_forward_hook(lambda m, *_: met.append(m)) for m in convs]
    model(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    if len(met) != len(nodes):
        raise SystemExit(f"{path} has {len(nodes)} convolutions, this network {len(met)}: it is not of this network")
    state = {}
    for conv, node in zip(met, nodes):
        weight, bias = (values[name] for name in node.input[1:3])
        if weight.shape != conv.weight.shape:
            raise SystemExit(f"{path}: {convs[conv]} is {tuple(weight.shape)}, not {tuple(conv.weight.shape)}: it is not of this network")
        state[f"{convs[conv]}.weight"] = weight * SCALE if conv is model.backbone.stem.conv else weight
        state[f"{convs[conv]}.bias"] = bias
    return state


def agree(path, probe, reference):
    """Largest difference between ONNX Runtime and the network; an error above 1 in 1000."""
    got = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"images": probe})[0]
    score = np.abs(got[..., 4:5] * got[..., 5:] - reference[..., 4:5] * reference[..., 5:]).max()
    box = np.abs(got[..., :4] - reference[..., :4]).max()
    if max(score, box) > 1e-3:
        raise SystemExit(f"{path}: ONNX Runtime differs from the network by {score:.2e} (scores), {box:.2e} (boxes)")
    return score, box


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("checkpoint")
    ap.add_argument("out")
    ap.add_argument("--size", type=int, default=416)
    ap.add_argument("--version", required=True)
    ap.add_argument("--trained-on", required=True)
    args = ap.parse_args()
    torch.manual_seed(0)
    facts = {
        "names": json.dumps(CLASSES), "layout": "yolox", "version": args.version,
        "trained_on": args.trained_on, "license": "Apache-2.0",
    }
    part = args.out + ".part"
    score, box = write(network(args.checkpoint), args.size, part, facts)
    os.replace(part, args.out)
    digest = hashlib.sha256(open(args.out, "rb").read()).hexdigest()
    print(f"{args.out}: differs by at most {score:.1e} (scores), {box:.1e} (boxes); sha256 {digest}")


if __name__ == "__main__":
    main()
