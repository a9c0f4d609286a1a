"""Training on a CPU within a given number of minutes.

The learning rate follows the time spent, not the number of steps, so that a run ends well
trained whatever the machine. Checkpoints carry everything needed to go on; `--resume` does.
Several processes of one thread each (`--processes`) meet once a step to average their
gradients: threads would meet at every layer and wait for whichever core is busy elsewhere.
"""
import argparse
import math
import os
import tempfile
import time

import cv2
import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader, IterableDataset

import data
from augment import training_input
from loss import Mimic, detection_loss
from model import Detector, grid
from teach import Teacher

# Input sizes by the share of time done: small ones first, twice as many pictures for the same time.
SIZES = ((0.35, (160, 192, 224, 256)), (0.73, (192, 224, 256, 288)), (9.0, (256, 288, 320, 352, 384)))
MOSAIC = 0.5, 0.1  # share of mosaics, and in the last fifth of the time
# Channels of a stride's backbone, class tower and box tower, ours and YOLOX-nano's
PLANES = [pair for stage in (64, 128, 256) for pair in ((stage, stage), (64, 64), (64, 64))]
MIMIC = 5.0, 1.0  # weight of the teacher's features, at the start and at the end


class Batches(IterableDataset):
    """Endless batches; `done[0]` is the share of time done, set by the trainer."""

    def __init__(self, pools, shares, batch, seed, done, teacher=None):
        self.pools, self.shares, self.batch, self.seed, self.done = pools, shares, batch, seed, done
        self.teacher = teacher
        self.weights = [np.cumsum(data.draw_weights(p)) for p in pools]

    def __iter__(self):
        cv2.setNumThreads(0)
        rng = np.random.default_rng(self.seed)
        teacher = Teacher(self.teacher) if self.teacher else None
        while True:
            done = float(self.done[0])
            size = int(rng.choice(next(sizes for until, sizes in SIZES if done < until)))
            pools = rng.choice(len(self.pools), self.batch, p=self.shares)
            made = [training_input(self.drawer(p, rng), size, MOSAIC[done > 0.8], rng) for p in pools]
            images, clean, targets = zip(*made)
            # The simulator knows all of its scenes; only real pictures need a teacher.
            real, taught = np.flatnonzero(pools == 0), None
            if teacher and len(real):
                taught = teacher(real, np.stack([clean[i] for i in real])).tensors()
            yield torch.from_numpy(np.stack(images)), [tuple(map(torch.from_numpy, t)) for t in targets], taught

    def drawer(self, pool, rng):
        return lambda: self.pools[pool][int(np.searchsorted(self.weights[pool], rng.random() * 0.999999))]


class Average:
    """Exponential moving average of the weights: what is evaluated and exported."""

    def __init__(self, model, state=None, steps=0, decay=0.999):
        self.state = state or {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.decay, self.steps = decay, steps

    def update(self, model):
        self.steps += 1
        d = self.decay * (1 - math.exp(-self.steps / 300))
        for k, v in model.state_dict().items():
            if v.dtype.is_floating_point:
                self.state[k].mul_(d).add_(v.detach(), alpha=1 - d)
            else:
                self.state[k].copy_(v)


def optimiser(weights, lr):
    """AdamW; no decay on norms and biases."""
    decayed = [p for p in weights if p.ndim > 1]
    plain = [p for p in weights if p.ndim <= 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}], lr=lr, fused=True)


def rate(done, step, peak):
    """Warm-up by steps, then a cosine over the share of time `done`."""
    return peak * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def pools_of(args):
    pools, shares = [data.real(args.data, "train")], [1.0]
    if args.sim and os.path.exists(os.path.join(args.sim, "annotations.json")):
        pools.append(data.simulated(args.sim))
        shares = [1 - args.sim_share, args.sim_share]
    print("pictures:", [len(p) for p in pools], flush=True)
    return pools, shares


def loader(args, pools, shares, clock, seed):
    batches = Batches(pools, shares, args.batch // args.processes, seed, clock, args.teacher)
    return iter(DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4))


def save(path, run, average):
    state = dict(
        model=run.model.state_dict(), mimic=run.mimic.state_dict(), average=average.state,
        optim=run.optim.state_dict(), spent=run.spent, step=run.step,
    )
    torch.save(state, path + ".part")
    os.replace(path + ".part", path)


class Run:
    """Network, optimiser and progress of one process; all processes hold the same."""

    def __init__(self, args):
        torch.manual_seed(args.seed)
        torch.set_num_threads(1)
        self.model = Detector().to(memory_format=torch.channels_last).train()
        self.mimic = Mimic(PLANES)
        self.weights = [*self.model.parameters(), *(self.mimic.parameters() if args.teacher else ())]
        self.optim = optimiser(self.weights, args.lr)
        self.spent, self.step, self.processes = 0.0, 0, args.processes

    def restore(self, path):
        """Goes on from a checkpoint; returns its averaged weights."""
        c = torch.load(path, weights_only=True)
        self.model.load_state_dict(c["model"])
        self.mimic.load_state_dict(c["mimic"])
        self.optim.load_state_dict(c["optim"])
        self.spent, self.step = c["spent"], c["step"]
        return c["average"]

    def begin(self, path):
        """Begins from the averaged weights of another run; time and optimiser are new."""
        self.model.load_state_dict(torch.load(path, weights_only=True)["average"])

    def learn(self, done, images, targets, taught):
        x = images.permute(0, 3, 1, 2).bfloat16()  # NHWC bytes are channels-last already, and exact in bf16
        like = torch.zeros(())
        with torch.autocast("cpu", torch.bfloat16):
            raw, planes = self.model.levels(x)
            if taught:
                like = self.mimic(planes, taught)
        cls, box, n = detection_loss(raw, targets, *grid(x.shape[2:]), taught)
        self.optim.zero_grad()
        (cls + 2 * box + (MIMIC[0] + done * (MIMIC[1] - MIMIC[0])) * like).backward()
        return cls.item(), box.item(), like.item(), n

    def agree(self, rank, elapsed):
        """Averages gradients over the processes; the time spent is what process 0 says."""
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.weights]
        every = torch.cat([g.flatten() for g in grads] + [torch.tensor([elapsed if rank == 0 else 0.0])])
        if self.processes > 1:
            dist.all_reduce(every)
        self.spent += float(every[-1])
        for p, part in zip(self.weights, every[:-1].split([g.numel() for g in grads])):
            p.grad = part.view_as(p) / self.processes
        torch.nn.utils.clip_grad_norm_(self.weights, 10.0)
        self.optim.step()
        self.step += 1


def work(rank, args, pools, shares, rendezvous):
    """One process of a run; number 0 averages, reports and saves."""
    if args.processes > 1:
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=args.processes)
    last, run = os.path.join(args.out, "last.pt"), Run(args)
    averaged = run.restore(last) if args.resume and os.path.exists(last) else None
    if args.begin and averaged is None:
        run.begin(args.begin)
    average, clock = Average(run.model, averaged, run.step), torch.zeros(1).share_memory_()
    batches = loader(args, pools, shares, clock, args.seed + run.step * args.processes + rank)
    saved = tick = time.monotonic()
    sums = np.zeros(4)
    while run.spent < args.minutes * 60:
        clock[0] = run.spent / (args.minutes * 60)
        for g in run.optim.param_groups:
            g["lr"] = rate(float(clock), run.step, args.lr)
        sums += run.learn(float(clock), *next(batches))
        now = time.monotonic()
        run.agree(rank, now - tick)
        tick = now
        if rank == 0:
            average.update(run.model)
            if run.step % 25 == 0:
                report(run, sums / 25, g["lr"])
                sums[:] = 0
            if now - saved > args.save_minutes * 60:
                saved = now
                save(last, run, average)
    if rank == 0:
        save(last, run, average)


def report(run, losses, lr):
    cls, box, like, cells = losses
    at = f"step {run.step} {run.spent / 60:.1f} min"
    print(f"{at} cls {cls:.3f} box {box:.3f} mimic {like:.3f} cells {cells:.0f} lr {lr:.5f}", flush=True)


def arguments():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--data", required=True, help="folder with annotations.json and images/")
    ap.add_argument("--sim", help="folder with the simulator's annotations.json and pictures")
    ap.add_argument("--teacher", help="YOLOX-nano as ONNX, to learn from beside the labels")
    ap.add_argument("--begin", help="checkpoint of an earlier run whose weights to begin with")
    ap.add_argument("--out", required=True)
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--sim-share", type=float, default=0.4)
    ap.add_argument("--batch", type=int, default=16, help="pictures a step, all processes together")
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--processes", type=int, default=2)
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--save-minutes", type=float, default=3)
    ap.add_argument("--resume", action="store_true")
    return ap.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(1)
    os.makedirs(args.out, exist_ok=True)
    pools, shares = pools_of(args)
    if args.processes == 1:
        work(0, args, pools, shares, None)
        return
    with tempfile.TemporaryDirectory() as folder:
        # Forked, so that the pictures are in memory once.
        mp.start_processes(
            work, (args, pools, shares, f"file://{folder}/meet"), args.processes, start_method="fork"
        )


if __name__ == "__main__":
    main()
