"""The network: a one-stage anchor-free detector of about 1.2 million parameters.

Backbone, neck (top-down, then bottom-up) and one decoupled head a stride have the widths of
YOLOX-nano at every boundary between blocks, so that a teacher's planes can be asked of ours
one by one (teach.py); inside a block ours is built differently. There is no learned
objectness: `classes` alone carries the quality of a box, and `as_yolox` rewrites it into the
objectness x class form at export. No batch norm: `calibrate` scales every layer once instead.
Losses live in loss.py.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

from fast import silu

CLASSES = ["person", "two_wheeler", "car", "bus", "truck", "container", "forklift"]
STRIDES = (8, 16, 32)
LEVEL_WIDTHS = (64, 128, 256)
TOWER = 64


def own(_, plane):
    """What a block hands on if nobody interferes: its own plane."""
    return plane


class Conv(nn.Module):
    """Convolution with bias and (by default) SiLU."""

    def __init__(self, cin, cout, k=1, s=1, groups=1, act=silu):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, s, (k - 1) // 2, groups=groups)
        nn.init.normal_(self.conv.weight, std=1 / math.sqrt(cin // groups * k * k))
        nn.init.zeros_(self.conv.bias)
        self.act = act

    def forward(self, x):
        y = pointwise(self.conv, x) if self.training and self.conv.kernel_size == (1, 1) else self.conv(x)
        return self.act(y) if self.act else y


def leaky(x):
    return F.leaky_relu(x, 0.1)


def pointwise(conv, x):
    """A 1x1 convolution as one matrix product: for small batches PyTorch's own takes a slow path."""
    return F.linear(x.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)


def separable(cin, cout, s=1):
    """Depthwise 3x3 then pointwise; no activation between: cheaper, and it imitates no worse."""
    return nn.Sequential(Conv(cin, cin, 3, s, cin, act=None), Conv(cin, cout))


class Bottleneck(nn.Module):
    def __init__(self, c, residual):
        super().__init__()
        self.body = nn.Sequential(Conv(c, c), separable(c, c))
        self.residual = residual

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class Split(nn.Module):
    """Half of the channels pass through `n` bottlenecks, half go around them."""

    def __init__(self, cin, cout, n, residual=True):
        super().__init__()
        half = cout // 2
        self.main, self.around = Conv(cin, half), Conv(cin, half)
        self.blocks = nn.ModuleList(Bottleneck(half, residual) for _ in range(n))
        self.merge = Conv(2 * half, cout)

    def forward(self, x, at=own, name=""):
        y = self.main(x)
        for i, block in enumerate(self.blocks):
            y = block(y) if i == 0 else block(at(f"{name}.{i}", y))
        return self.merge(torch.cat((y, self.around(x)), 1))


class Pool(nn.Module):
    """Wide context at the coarsest level: 5x5, 9x9 and 13x13 maxima, as 5x5 three times over."""

    def __init__(self, c):
        super().__init__()
        self.reduce, self.merge = Conv(c, c // 2), Conv(2 * c, c)

    def forward(self, x):
        steps = [self.reduce(x)]
        for _ in range(3):
            steps.append(F.max_pool2d(steps[-1], 5, 1, 2))
        return self.merge(torch.cat(steps, 1))


class Backbone(nn.Module):
    """Dense strided convolutions, which imitate better than separable ones (half the error).

    The largest plane has a leaky ReLU, which ONNX Runtime fuses into the convolution, to pay for them.
    """

    def __init__(self):
        super().__init__()
        self.stem, self.to4 = Conv(3, 16, 6, 2, act=leaky), Conv(16, 32, 3, 2)
        self.s4 = Split(32, 32, 1)
        self.to8, self.s8 = Conv(32, 64, 3, 2), Split(64, 64, 3)
        self.to16, self.s16 = Conv(64, 128, 3, 2), Split(128, 128, 3)
        self.to32, self.pool, self.s32 = Conv(128, 256, 3, 2), Pool(256), Split(256, 256, 1, False)

    def forward(self, x, at=own):
        c4 = at("s4", self.s4(at("to4", self.to4(self.stem(x)))))
        c8 = at("s8", self.s8(at("to8", self.to8(c4)), at, "s8"))
        c16 = at("s16", self.s16(at("to16", self.to16(c8)), at, "s16"))
        return c8, c16, self.s32(at("pool", self.pool(at("to32", self.to32(c16)))))


class Neck(nn.Module):
    """Top-down then bottom-up."""

    def __init__(self):
        super().__init__()
        self.lateral, self.down16, self.reduce = Conv(256, 128), Split(256, 128, 1, False), Conv(128, 64)
        self.down8 = Split(128, 64, 1, False)
        self.to16, self.up16 = separable(64, 64, 2), Split(128, 128, 1, False)
        self.to32, self.up32 = separable(128, 128, 2), Split(256, 256, 1, False)

    def forward(self, c8, c16, c32, at=own):
        p32 = at("lateral", self.lateral(c32))
        p16 = at("reduce", self.reduce(self.down16(torch.cat((wider(p32), c16), 1))))
        n8 = self.down8(torch.cat((wider(p16), c8), 1))
        n16 = self.up16(torch.cat((self.to16(at("n8", n8)), p16), 1))
        return n8, n16, self.up32(torch.cat((self.to32(at("n16", n16)), p32), 1))


def wider(plane):
    return F.interpolate(plane, scale_factor=2.0)


class Head(nn.Module):
    """Class scores and box of one stride, on towers of their own; scores read both towers."""

    def __init__(self, cin, classes):
        super().__init__()
        c = TOWER
        self.stem = Conv(cin, c)
        self.cls_tower = nn.ModuleList((separable(c, c), separable(c, c)))
        self.box_tower = nn.ModuleList((separable(c, c), separable(c, c)))
        self.cls, self.box = nn.Conv2d(2 * c, classes, 1), nn.Conv2d(c, 4, 1)
        # Rare positives: start every class at 1 %. Never on the box outputs,
        # where the same bias would start all boxes displaced and shrunken.
        nn.init.constant_(self.cls.bias, -math.log(99.0))
        nn.init.normal_(self.cls.weight, std=0.01)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.zeros_(self.box.bias)

    def forward(self, x, at=own, name=""):
        """Box and class outputs as one plane."""
        x = at(f"{name}.stem", self.stem(x))
        cls, box = (
            at(f"{name}.{kind}", tower[1](at(f"{name}.{kind}.mid", tower[0](x))))
            for kind, tower in (("cls", self.cls_tower), ("box", self.box_tower))
        )
        with torch.autocast("cpu", enabled=False):  # an answer's last digits matter
            cls, box = cls.float(), box.float()
            return torch.cat((self.box(box), self.cls(torch.cat((cls, box), 1))), 1)


class Detector(nn.Module):
    """BGR 0..255 pictures in, raw `[batch, cells, 4 + classes]` out (logits).

    `at(name, plane)` sees the plane at every boundary between blocks and says what the next
    block gets: the plane itself, or a teacher's.
    """

    def __init__(self, classes=len(CLASSES)):
        super().__init__()
        self.backbone, self.neck = Backbone(), Neck()
        self.heads = nn.ModuleList(Head(c, classes) for c in LEVEL_WIDTHS)

    def forward(self, x, at=own):
        # A fixed scale; export folds it into the first convolution.
        levels = self.neck(*self.backbone((x - 114.0) / 58.0, at), at)
        return flat([head(f, at, f"head{s}") for s, head, f in zip(STRIDES, self.heads, levels)])


@torch.no_grad()
def calibrate(model, run):
    """Scales every convolution so that what `run()` shows it comes out with mean 0 and spread 1."""

    def scale(module, inputs):
        conv = module.conv
        y = conv(inputs[0])
        mean, spread = y.mean((0, 2, 3)), y.std((0, 2, 3)) + 1e-3
        conv.weight /= spread[:, None, None, None]
        conv.bias.copy_((conv.bias - mean) / spread)

    hooks = [m.register_forward_pre_hook(scale) for m in model.modules() if isinstance(m, Conv)]
    run()
    for hook in hooks:
        hook.remove()


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
