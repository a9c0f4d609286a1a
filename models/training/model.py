"""The network: a one-stage anchor-free detector of about one million parameters.

Backbone (split-transform-merge blocks of depthwise-separable convolutions), a small
top-down/bottom-up neck, and one light decoupled head a stride. There is no learned
objectness: `classes` alone carries the quality of a box, and `as_yolox` rewrites it
into the objectness x class form at export. Losses live in loss.py.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

from norm import norm

CLASSES = ["person", "two_wheeler", "car", "bus", "truck", "container", "forklift"]
STRIDES = (8, 16, 32)
SLOPE = 0.1  # leaky: ONNX Runtime fuses it into the convolution, SiLU it does not


class ConvBN(nn.Module):
    """Convolution, batch norm and (by default) the activation."""

    def __init__(self, cin, cout, k=1, s=1, groups=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, s, k // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=1e-3, momentum=0.03)
        self.slope = SLOPE if act else 1.0

    def forward(self, x):
        return norm(self.conv(x), self.bn, self.slope)


def separable(cin, cout):
    """Depthwise 3x3 then pointwise; no activation between (cheaper).

    Only 3x3 at stride 1: the backward pass of larger or strided depthwise kernels
    is five to ten times slower on CPUs with bf16 units, a dense strided one is not.
    """
    return nn.Sequential(ConvBN(cin, cin, 3, 1, cin, act=False), ConvBN(cin, cout))


class Bottleneck(nn.Module):
    def __init__(self, c, residual):
        super().__init__()
        self.body = nn.Sequential(ConvBN(c, c), separable(c, c))
        self.residual = residual

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class Split(nn.Module):
    """Half of the channels pass through `n` bottlenecks, half go around them."""

    def __init__(self, cin, cout, n, residual=True):
        super().__init__()
        half = cout // 2
        self.main, self.around = ConvBN(cin, half), ConvBN(cin, half)
        self.blocks = nn.Sequential(*(Bottleneck(half, residual) for _ in range(n)))
        self.merge = ConvBN(2 * half, cout)

    def forward(self, x):
        return self.merge(torch.cat((self.blocks(self.main(x)), self.around(x)), 1))


class Pool(nn.Module):
    """Wide context at the coarsest level: the same 5x5 maximum, three times over."""

    def __init__(self, c):
        super().__init__()
        self.reduce, self.merge = ConvBN(c, c // 2), ConvBN(2 * c, c)

    def forward(self, x):
        steps = [self.reduce(x)]
        for _ in range(3):
            steps.append(F.max_pool2d(steps[-1], 5, 1, 2))
        return self.merge(torch.cat(steps, 1))


class Backbone(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.stem = ConvBN(3, w, 3, 2)
        self.s4 = nn.Sequential(ConvBN(w, 2 * w, 3, 2), Split(2 * w, 2 * w, 1))
        self.s8 = nn.Sequential(ConvBN(2 * w, 4 * w, 3, 2), Split(4 * w, 4 * w, 2))
        self.s16 = nn.Sequential(ConvBN(4 * w, 8 * w, 3, 2), Split(8 * w, 8 * w, 3))
        self.s32 = nn.Sequential(ConvBN(8 * w, 16 * w, 3, 2), Pool(16 * w), Split(16 * w, 16 * w, 1))

    def forward(self, x):
        c8 = self.s8(self.s4(self.stem(x)))
        c16 = self.s16(c8)
        return c8, c16, self.s32(c16)


class Neck(nn.Module):
    """Top-down then bottom-up, all levels `c` channels wide."""

    def __init__(self, cins, c):
        super().__init__()
        self.lateral = nn.ModuleList(ConvBN(i, c) for i in cins)
        self.down16, self.down8 = Split(2 * c, c, 1, False), Split(2 * c, c, 1, False)
        self.to16, self.to32 = ConvBN(c, c, 3, 2), ConvBN(c, c, 3, 2)
        self.up16, self.up32 = Split(2 * c, c, 1, False), Split(2 * c, c, 1, False)

    def forward(self, feats):
        p8, p16, p32 = (lat(f) for lat, f in zip(self.lateral, feats))
        t16 = self.down16(torch.cat((p16, F.interpolate(p32, scale_factor=2.0)), 1))
        n8 = self.down8(torch.cat((p8, F.interpolate(t16, scale_factor=2.0)), 1))
        n16 = self.up16(torch.cat((t16, self.to16(n8)), 1))
        return n8, n16, self.up32(torch.cat((p32, self.to32(n16)), 1))


class Head(nn.Module):
    """Class scores and box of one stride, on towers of their own."""

    def __init__(self, c, classes):
        super().__init__()
        self.cls_tower = nn.Sequential(separable(c, c), separable(c, c))
        self.box_tower = nn.Sequential(separable(c, c), separable(c, c))
        self.cls, self.box = nn.Conv2d(c, classes, 1), nn.Conv2d(c, 4, 1)
        # Rare positives: start every class at 1 %. Never on the box outputs,
        # where the same bias would start all boxes displaced and shrunken.
        nn.init.constant_(self.cls.bias, -math.log(99.0))
        nn.init.normal_(self.cls.weight, std=0.01)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.zeros_(self.box.bias)

    def forward(self, x):
        """Box and class outputs as one plane; the class and the box tower they are read from."""
        cls, box = self.cls_tower(x), self.box_tower(x)
        return torch.cat((self.box(box), self.cls(cls)), 1), cls, box


class Detector(nn.Module):
    """BGR 0..255 pictures in, raw `[batch, cells, 4 + classes]` out (logits)."""

    def __init__(self, width=16, neck=64, classes=len(CLASSES)):
        super().__init__()
        w = width
        self.backbone = Backbone(w)
        self.neck = Neck((4 * w, 8 * w, 16 * w), neck)
        self.heads = nn.ModuleList(Head(neck, classes) for _ in STRIDES)

    def forward(self, x):
        return self.levels(x)[0]

    def levels(self, x):
        """The output, and of each stride the planes of backbone, class tower and box tower."""
        # A fixed scale; export folds it into the first convolution.
        stages = self.backbone((x - 114.0) / 58.0)
        outs, cls, box = zip(*(head(f) for head, f in zip(self.heads, self.neck(stages))))
        return flat(outs), [plane for level in zip(stages, cls, box) for plane in level]


def flat(planes):
    """Planes of all strides as one `[batch, cells, channels]`."""
    return torch.cat([p.flatten(2) for p in planes], 2).transpose(1, 2)


def grid(size, device="cpu"):
    """Cell origins in cells and strides of an input `size` = (height, width), in output order."""
    cells, strides = [], []
    for s in STRIDES:
        y, x = torch.meshgrid(torch.arange(size[0] // s), torch.arange(size[1] // s), indexing="ij")
        cells.append(torch.stack((x, y), 2).reshape(-1, 2))
        strides.append(torch.full((cells[-1].shape[0], 1), s))
    return torch.cat(cells).float().to(device), torch.cat(strides).float().to(device)


def decode(raw, cells, strides):
    """Raw box outputs to corner boxes in input pixels."""
    centre = (raw[..., :2] + cells) * strides
    half = raw[..., 2:4].clamp(max=6.0).exp() * strides / 2
    return torch.cat((centre - half, centre + half), -1)


def as_yolox(raw):
    """Logits to the YOLOX columns: raw box, objectness, class scores.

    Objectness is the best class score and the classes are shares of it, so that
    objectness x class is exactly the score the network was trained to give.
    """
    scores = raw[..., 4:].sigmoid()
    best = scores.amax(-1, keepdim=True)
    return torch.cat((raw[..., :4], best, scores / best), -1)
