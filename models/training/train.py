"""Training on a CPU within a given number of minutes.

The learning rate follows the time spent, not the number of steps, so that a run ends well
trained whatever the machine. Checkpoints carry everything needed to go on; `--resume` does.
Simulator scenes are mixed in from the moment their folder is there.
"""
import argparse
import json
import math
import os
import time

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

import data
from augment import training_input
from loss import detection_loss
from model import Detector, grid

# Input sizes by the share of time done: small ones first, twice as many pictures for the same time.
SIZES = ((0.45, (192, 224, 256)), (0.8, (224, 256, 288, 320)), (9.0, (288, 320, 320, 352, 416)))
MOSAIC = 0.5, 0.1  # share of mosaics, and in the last fifth of the time


class Batches(IterableDataset):
    """Endless batches; `done[0]` is the share of time done, set by the trainer."""

    def __init__(self, pools, shares, batch, seed, done):
        self.pools, self.shares, self.batch, self.seed, self.done = pools, shares, batch, seed, done
        self.weights = [np.cumsum(data.draw_weights(p)) for p in pools]

    def __iter__(self):
        cv2.setNumThreads(0)
        rng = np.random.default_rng(self.seed)
        while True:
            done, items = float(self.done[0]), []
            size = int(rng.choice(next(sizes for until, sizes in SIZES if done < until)))
            for _ in range(self.batch):
                pool = rng.choice(len(self.pools), p=self.shares)
                draw = lambda: self.pools[pool][int(np.searchsorted(self.weights[pool], rng.random() * 0.999999))]
                items.append(training_input(draw, size, MOSAIC[done > 0.8], rng))
            images = torch.from_numpy(np.stack([i for i, _ in items]))
            yield images, [tuple(torch.from_numpy(t) for t in targets) for _, targets in items]


class Average:
    """Exponential moving average of the weights: what is evaluated and exported."""

    def __init__(self, model, decay=0.9985):
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.decay, self.steps = decay, 0

    def update(self, model):
        self.steps += 1
        d = self.decay * (1 - math.exp(-self.steps / 300))
        for k, v in model.state_dict().items():
            if v.dtype.is_floating_point:
                self.state[k].mul_(d).add_(v.detach(), alpha=1 - d)
            else:
                self.state[k].copy_(v)


def optimiser(model, lr):
    """AdamW; no decay on norms and biases."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}], lr=lr)


def rate(done, step, peak):
    """Warm-up by steps, then a cosine over the share of time `done`."""
    return peak * min(1.0, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def pools_of(args):
    taught = json.load(open(args.taught)) if args.taught else None
    pools, shares = [data.real(args.data, "train", taught)], [1.0]
    if args.sim and os.path.exists(os.path.join(args.sim, "annotations.json")):
        pools.append(data.simulated(args.sim))
        shares = [1 - args.sim_share, args.sim_share]
    print("pictures:", [len(p) for p in pools], flush=True)
    return pools, shares


def loader(args, pools, shares, clock, step):
    batches = Batches(pools, shares, args.batch, args.seed + step, clock)
    return iter(DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4))


def save(path, **state):
    torch.save(state, path + ".part")
    os.replace(path + ".part", path)


def arguments():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--data", required=True, help="folder with annotations.json and images/")
    ap.add_argument("--sim", help="folder with the simulator's annotations.json and pictures")
    ap.add_argument("--taught", help="teach.py's boxes")
    ap.add_argument("--out", required=True)
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--sim-share", type=float, default=0.4)
    ap.add_argument("--batch", type=int, default=16)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--threads", type=int, default=1, help="one is faster than two on a shared machine")
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--save-minutes", type=float, default=3)
    ap.add_argument("--resume", action="store_true")
    return ap.parse_args()


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    os.makedirs(args.out, exist_ok=True)
    last = os.path.join(args.out, "last.pt")
    model = Detector().to(memory_format=torch.channels_last).train()
    average, optim, spent, step = Average(model), optimiser(model, args.lr), 0.0, 0
    if args.resume and os.path.exists(last):
        c = torch.load(last, weights_only=True)
        model.load_state_dict(c["model"])
        average.state, average.steps = c["average"], c["step"]
        optim.load_state_dict(c["optim"])
        spent, step = c["spent"], c["step"]
    pools, shares = pools_of(args)
    clock = torch.zeros(1).share_memory_()
    batches, saved, sums, tick = loader(args, pools, shares, clock, step), time.monotonic(), np.zeros(3), time.monotonic()
    while spent < args.minutes * 60:
        done = spent / (args.minutes * 60)
        clock[0] = done
        for g in optim.param_groups:
            g["lr"] = rate(done, step, args.lr)
        images, targets = next(batches)
        cls, box, n = train_step(model, optim, images, targets)
        average.update(model)
        step, sums = step + 1, sums + (cls, box, n)
        now = time.monotonic()
        spent, tick = spent + now - tick, now
        if step % 25 == 0:
            a = sums / 25
            print(f"step {step} {spent / 60:.1f} min cls {a[0]:.3f} box {a[1]:.3f} cells {a[2]:.0f} lr {g['lr']:.5f}", flush=True)
            sums[:] = 0
        if now - saved > args.save_minutes * 60:
            saved = now
            save(last, model=model.state_dict(), average=average.state, optim=optim.state_dict(), spent=spent, step=step)
            if len(pools) == 1 and args.sim and os.path.exists(os.path.join(args.sim, "annotations.json")):
                pools, shares = pools_of(args)
                batches = loader(args, pools, shares, clock, step)
    save(last, model=model.state_dict(), average=average.state, optim=optim.state_dict(), spent=spent, step=step)


def train_step(model, optim, images, targets):
    x = images.permute(0, 3, 1, 2).float()  # NHWC bytes: channels-last without a copy of layout
    with torch.autocast("cpu", torch.bfloat16):
        raw = model(x)
    cells, strides = grid(x.shape[2:])
    cls, box, n = detection_loss(raw, targets, cells, strides)
    optim.zero_grad()
    (cls + 2 * box).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optim.step()
    return cls.item(), box.item(), n


if __name__ == "__main__":
    main()
