"""Which cell answers for which object, and the two losses.

Assignment is dynamic: the cells of an object are those that predict it best so far
(class and overlap), as many as their overlaps add up to. The class target of a cell is
the overlap of its box, so the score ends up saying how good the box is.
"""
import torch
from torch.nn import functional as F

from model import decode

TOP = 13  # cells whose overlaps are added up to find how many an object gets
EPS = 1e-7


def overlap(a, b, generalised=False):
    """IoU (or GIoU) of corner boxes, broadcast."""
    wh = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    inter = wh.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inter
    iou = inter / (union + EPS)
    if not generalised:
        return iou
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    return iou - (hull - union) / (hull + EPS)


@torch.no_grad()
def assign(pred, logits, centres, strides, boxes, classes):
    """Cells of one picture and their objects: `(cell indices, object indices, overlaps)`."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    delta = torch.cat((centres - boxes[:, None, :2], boxes[:, None, 2:] - centres), -1)
    away = (centres - middle[:, None]).norm(dim=-1) / strides[:, 0]
    # Inside the box, or next to the middle of one too small to hold a cell's centre.
    can = (delta.amin(-1) > 0) | (away < 0.75)
    cells = can.any(0).nonzero()[:, 0]
    can, away = can[:, cells], away[:, cells]
    iou = overlap(boxes[:, None], pred[None, cells])
    score = logits[cells][:, classes].T
    quality = F.binary_cross_entropy_with_logits(score, iou, reduction="none")
    cost = quality * (iou - score.sigmoid()).abs() ** 2 - 3 * (iou + EPS).log() + 10 ** (away.clamp(max=8) - 3)
    cost = cost.masked_fill(~can, 1e9)
    best = (iou * can).topk(min(TOP, len(cells)), dim=1).values
    count = best.sum(1).int().clamp(min=1)
    order = cost.topk(min(TOP, len(cells)), dim=1, largest=False)
    rank = torch.arange(order.indices.shape[1])[None]
    chosen = torch.zeros_like(can).scatter_(1, order.indices, (rank < count[:, None]) & (order.values < 1e8))
    # A cell wanted by several objects goes to the cheapest.
    owner = cost.masked_fill(~chosen, 2e9).argmin(0)
    taken = chosen.any(0).nonzero()[:, 0]
    owner = owner[taken]
    return cells[taken], owner, iou[owner, taken]


def ignored(centres, regions, classes):
    """Weights `[cells, classes]`: 0 where an ignore region hides a class."""
    weight = torch.ones(len(centres), classes)
    if len(regions):
        inside = (centres[None] > regions[:, None, :2]).all(-1) & (centres[None] < regions[:, None, 2:4]).all(-1)
        weight[(inside.float().T @ regions[:, 4:]) > 0] = 0
    return weight


def detection_loss(raw, targets, cells, strides):
    """Class loss, box loss and number of answering cells of a batch."""
    raw = raw.float()
    pred, logits = decode(raw, cells, strides), raw[..., 4:]
    centres = (cells + 0.5) * strides
    goal, weight = torch.zeros_like(logits), torch.ones_like(logits)
    got, want, quality = [], [], []
    for i, (boxes, classes, regions) in enumerate(targets):
        weight[i] = ignored(centres, regions, logits.shape[-1])
        if len(boxes) == 0:
            continue
        cell, owner, iou = assign(pred[i].detach(), logits[i].detach(), centres, strides, boxes, classes)
        goal[i, cell, classes[owner]] = iou
        weight[i, cell, classes[owner]] = 1
        got.append(pred[i, cell])
        want.append(boxes[owner])
        quality.append(iou)
    focus = (goal - logits.sigmoid()).abs() ** 2
    cls = F.binary_cross_entropy_with_logits(logits, goal, reduction="none") * focus * weight
    if not got:
        return cls.sum(), raw.sum() * 0, 0
    got, want, quality = torch.cat(got), torch.cat(want), torch.cat(quality)
    norm = quality.sum().clamp(min=1)
    box = (1 - overlap(got, want, generalised=True)) * quality.clamp(min=0.05)
    return cls.sum() / norm, box.sum() / norm, len(got)
