"""Which cell answers for which object, and the losses.

Assignment is dynamic: the cells of an object are those that predict it best so far
(class and overlap), as many as their overlaps add up to. The class target of a cell is
the overlap of its box, so the score ends up saying how good the box is.
"""
import torch
from torch import nn
from torch.nn import functional as F

from fast import likeness
from model import decode

TOP = 13  # cells whose overlaps are added up to find how many an object gets
EPS = 1e-7
DOUBT = 0.05  # below this score the teacher's box is not asked for


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


@torch.no_grad()
def goals(pred, logits, centres, strides, target, taught):
    """What one picture asks of every cell: class goals and their weights, boxes and their weights.

    `taught`: the teacher's decoded boxes and scores, or None. The human truth of `target` wins.
    """
    boxes, classes, regions = target
    weight = ignored(centres, regions, logits.shape[-1])
    goal, want, strength = torch.zeros_like(logits), torch.zeros_like(pred), torch.zeros(len(pred))
    if taught:
        lean(goal, want, strength, weight, boxes, classes, *taught)
    if len(boxes):
        cell, owner, iou = assign(pred, logits, centres, strides, boxes, classes)
        at = cell, classes[owner]
        goal[at], weight[at] = torch.maximum(goal[at], iou), 1
        want[cell], strength[cell] = boxes[owner], torch.maximum(strength[cell], iou.clamp(min=0.05))
    return goal, weight, want, strength


def lean(goal, want, strength, weight, boxes, classes, found, scores):
    """Fills goals in place from the teacher: it decides alone where nobody judged a class.

    Where people did, its cells on a labelled object answer for that object, with the
    object's own class and box, and everything else it sees there is nothing.
    """
    known = scores.shape[1]
    goal[:, :known] = scores * (weight[:, :known] == 0)
    weight[:, :known] = 1
    sure = scores.amax(1)
    cells = (sure > DOUBT).nonzero()[:, 0]
    want[cells], strength[cells] = found[cells], goal[cells].amax(1)
    if len(boxes) and len(cells):
        best, which = overlap(found[cells, None], boxes[None]).max(1)
        cells, which = cells[best > 0.5], which[best > 0.5]
        at = cells, classes[which]
        goal[at], weight[at] = torch.maximum(goal[at], sure[cells]), 1
        want[cells], strength[cells] = boxes[which], sure[cells]


def detection_loss(raw, targets, cells, strides, taught=None):
    """Class loss, box loss and number of answering cells of a batch; `taught`: teach.Taught as tensors."""
    raw = raw.float()
    pred, logits, centres = decode(raw, cells, strides), raw[..., 4:], (cells + 0.5) * strides
    answers = {}
    if taught:
        answers = dict(zip(taught.rows.tolist(), zip(decode(taught.boxes, cells, strides), taught.scores)))
    each = [goals(pred[i], logits[i], centres, strides, t, answers.get(i)) for i, t in enumerate(targets)]
    goal, weight, want, strength = (torch.stack(part) for part in zip(*each))
    norm = strength.sum().clamp(min=1)
    focus = (goal - logits.sigmoid()).abs() ** 2
    cls = F.binary_cross_entropy_with_logits(logits, goal, reduction="none") * focus * weight
    on = strength > 0
    box = (1 - overlap(pred[on], want[on], generalised=True)) * strength[on]
    return cls.sum() / norm, box.sum() / norm, int(on.sum())


class Likeness(nn.Module):
    """How far planes are from the teacher's: mean squared error in spreads of the teacher's channels.

    Spreads are running means. A channel that hardly moves counts less: the floor is a tenth of
    the plane's.
    """

    def __init__(self, widths):
        super().__init__()
        self.names = list(widths)
        self.seen = dict.fromkeys(widths, 0)
        for name, c in widths.items():
            self.register_buffer(self.key(name), torch.zeros(c))

    @staticmethod
    def key(name):
        return "variance_" + name.replace(".", "_")

    def forward(self, name, plane, theirs):
        variance = getattr(self, self.key(name))
        if self.training:
            if self.seen[name] < 20 or self.seen[name] % 32 == 0:
                variance.lerp_(theirs.var((0, 2, 3)), 0.1 if variance.any() else 1.0)
            self.seen[name] += 1
        return likeness(plane, theirs, 1 / (variance + 0.01 * variance.mean() + 1e-6))


def answers_loss(raw, taught, cells, strides):
    """Loss against the teacher's answers alone, for the classes it knows."""
    raw, goal = raw.float(), taught.scores
    logits = raw[..., 4 : 4 + goal.shape[-1]]
    sure = goal.amax(-1)
    focus = (goal - logits.sigmoid()).abs() ** 2
    cls = F.binary_cross_entropy_with_logits(logits, goal, reduction="none") * focus
    on = sure > DOUBT
    giou = overlap(decode(raw, cells, strides)[on], decode(taught.boxes, cells, strides)[on], generalised=True)
    norm = sure[on].sum().clamp(min=1)
    return cls.sum() / norm, ((1 - giou) * sure[on]).sum() / norm
