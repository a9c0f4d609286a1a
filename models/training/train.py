"""Training on a CPU within a given number of minutes, in two stages.

`blocks`: every block gets the teacher's plane and has to make the teacher's next one, all blocks
at once. `whole`: the blocks are chained and learn labels, the teacher's answers and scenes of the
simulator, the teacher's planes now being hints. The learning rate follows the time spent, not the
number of steps, so that a run ends well trained whatever the machine. Checkpoints carry
everything needed to go on; `--resume` does.
"""
import argparse
import collections
import math
import os
import queue
import threading
import time

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

import data
import export
from augment import training_input
from loss import Likeness, answers_loss, detection_loss
from model import Conv, Detector, calibrate, grid
from optim import Both
from teach import BOUNDARIES, Teacher

# Input sizes by the share of time done.
SIZES = {
    "blocks": ((0.6, (192, 256, 320)), (9.0, (224, 256, 320))),
    "whole": ((0.4, (224, 256, 288)), (0.75, (256, 288, 320, 352)), (9.0, (288, 320, 416))),
}
MOSAIC = 0.4, 0.1  # share of mosaics, and in the last fifth of the time
HINTS = 40.0, 5.0  # weight of the teacher's planes in stage `whole`, at the start and at the end
HINTS_ALONE = 0.15  # share of the time the chain settles before labels pull at it
SCENES_FROM = 0.3  # share of the time after which simulator scenes join in
WORKER_NICE = 10  # the learner should not wait for the core its helpers sit on
EXACT_FROM = 0.85  # share of the time from which `--half` is f32 again: the last steps are small
PAUSE = 30.0  # a step takes no longer, seconds: the process was stopped, and that is no training
OUTPUTS = tuple(f"head{s}.{kind}" for s in (8, 16, 32) for kind in ("cls", "box"))


class Batches(IterableDataset):
    """Endless batches; `done[0]` is the share of time done, set by the trainer."""

    def __init__(self, pools, shares, batch, seed, done, teacher, sizes):
        self.pools, self.shares, self.batch, self.seed, self.done = pools, shares, batch, seed, done
        self.teacher, self.sizes = teacher, sizes
        self.weights = [np.cumsum(data.draw_weights(p)) for p in pools]

    def __iter__(self):
        cv2.setNumThreads(0)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        teacher = Teacher(self.teacher) if self.teacher else None
        while True:
            done = float(self.done[0])
            size = int(rng.choice(next(sizes for until, sizes in self.sizes if done < until)))
            pools = np.sort(rng.choice(len(self.pools), self.batch, p=self.shares)) * (done > SCENES_FROM)
            made = [training_input(self.drawer(p, rng), size, MOSAIC[done > 0.8], rng) for p in pools]
            images, clean, targets = zip(*made)
            # The simulator knows all of its scenes; only real pictures need a teacher.
            real, taught = np.flatnonzero(pools == 0), None
            if teacher and len(real):
                taught = teacher(real, np.stack([clean[i] for i in real]), -(-len(real) // 4)).tensors()
            yield torch.from_numpy(np.stack(images)), [tuple(map(torch.from_numpy, t)) for t in targets], taught

    def drawer(self, pool, rng):
        return lambda: self.pools[pool][int(np.searchsorted(self.weights[pool], rng.random() * 0.999999))]


class Average:
    """Exponential moving average of the weights: what is evaluated and exported."""

    def __init__(self, model, state=None, steps=0, decay=0.998):
        self.state = state or {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.decay, self.steps = decay, steps

    def update(self, model):
        self.steps += 1
        d = self.decay * (1 - math.exp(-self.steps / 300))
        for k, v in model.state_dict().items():
            self.state[k].mul_(d).add_(v.detach(), alpha=1 - d)


def rate(done, step, peak):
    """Warm-up by steps, then a cosine over the share of time `done`."""
    return peak * min(1.0, (step + 1) / 50) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def pixels(images):
    return images.permute(0, 3, 1, 2).float()  # NHWC bytes are channels-last already


def taught_planes(taught):
    """The teacher's planes as the network's: channels-last f32."""
    return {k: p.permute(0, 3, 1, 2).float() for k, p in taught.planes.items()}


def forced(theirs, mine=None):
    """`at` for `Detector`: the next block gets the teacher's plane; ours is kept in `mine`.

    Outputs are read from our own towers, as they will be later, but do not move them.
    """

    def at(name, plane):
        if mine is not None:
            mine[name] = plane
        return plane.detach() if name in OUTPUTS else theirs[name]

    return at


@torch.no_grad()
def revive(model, images, theirs, lost=0.7):
    """New filters for channels that explain nothing of the teacher's; returns how many.

    The first large steps can push a SiLU so far down that no gradient comes back: all 256 channels
    of a block stayed at zero once, unnoticed but for its error. Not for chains that have learnt to
    live with each other's errors: given the teacher's planes, sound channels look lost there.
    """
    made, count, few = {}, 0, min(map(len, theirs.values()))
    hooks = [
        m.register_forward_hook(lambda m, inputs, out: made.update({id(out): (m.conv, inputs[0], out)}))
        for m in model.modules() if isinstance(m, Conv)
    ]
    mine = {}
    model(pixels(images[:few]), forced(theirs, mine))
    for hook in hooks:
        hook.remove()
    for name, plane in mine.items():
        if id(plane) not in made:  # a sum of two layers
            continue
        conv, x, _ = made[id(plane)]
        goal = theirs[name][: len(plane)]
        variance = goal.var((0, 2, 3))
        error = (plane - goal).square().mean((0, 2, 3)) / (variance + 0.01 * variance.mean())
        bad = error > lost
        count += int(bad.sum())
        if bad.any():
            conv.weight[bad] = torch.randn_like(conv.weight[bad])
            conv.bias[bad] = 0
            y = conv(x)[:, bad]
            gain = variance[bad].sqrt() / (y.std((0, 2, 3)) + 1e-3)
            conv.weight[bad] *= gain[:, None, None, None]
            conv.bias[bad] = goal.mean((0, 2, 3))[bad] - y.mean((0, 2, 3)) * gain
    return count


class Run:
    """Network, optimiser and progress."""

    def __init__(self, args):
        torch.manual_seed(args.seed)
        self.stage, self.late, self.half = args.stage, args.late, args.half
        self.model = Detector().to(memory_format=torch.channels_last)
        self.likeness = Likeness({name: c for name, (_, _, c) in BOUNDARIES.items()})
        self.optim, self.lr, self.spent, self.step = None, args.lr, 0.0, 0

    def ready(self):
        self.optim = Both(self.model, self.lr)

    def restore(self, path):
        """Goes on from a checkpoint; returns its averaged weights."""
        c = torch.load(path, weights_only=True)
        self.model.load_state_dict(c["model"])
        self.likeness.load_state_dict(c["likeness"])
        self.ready()
        self.optim.load_state_dict(c["optim"])
        self.spent, self.step = c["spent"], c["step"]
        return c["average"]

    def begin(self, path, batch):
        """New time and optimiser: from the averaged weights of another run, or from nothing."""
        images, _, taught = batch
        theirs = taught_planes(taught) if taught else {}
        if path:
            if path.endswith(".onnx"):
                self.model.load_state_dict(export.read(path))
            else:
                c = torch.load(path, weights_only=True)
                self.model.load_state_dict(c["average"])
                self.likeness.load_state_dict(c["likeness"])
            if theirs and not self.late:
                print("channels revived:", revive(self.model, images[taught.rows], theirs), flush=True)
        else:
            few = len(theirs["to4"])
            calibrate(self.model, lambda: self.model(pixels(images[:few]), forced(theirs)))
        self.ready()

    def like(self, mine, theirs, rows=None):
        """How far each of our planes is from the teacher's."""
        losses = {}
        for name, plane in theirs.items():
            ours = mine[name][: len(plane)] if rows is None else mine[name][rows[: len(plane)]]
            losses[name] = self.likeness(name, ours, plane[: len(ours)])
        return losses

    def learn_blocks(self, images, taught):
        theirs, mine = taught_planes(taught), {}
        raw = self.model(pixels(images[: len(theirs["to4"])]), forced(theirs, mine))
        cls, box = answers_loss(raw, taught, *grid(images.shape[1:3]))
        losses = self.like(mine, theirs)
        return sum(losses.values()) + cls + box, cls, box, sum(losses.values()) / len(losses)

    def learn_whole(self, images, targets, taught, done):
        mine, like = {}, torch.zeros(())

        def at(name, plane):
            mine[name] = plane.float()
            return plane

        with torch.autocast("cpu", torch.bfloat16, enabled=self.half and done < EXACT_FROM):
            raw = self.model(pixels(images), at)
        cls, box, _ = detection_loss(raw, targets, *grid(images.shape[1:3]), taught)
        if taught:
            # The logarithm keeps planes that are still far off from drowning the others.
            losses = self.like(mine, taught_planes(taught), taught.rows)
            like = sum(v.log1p() for v in losses.values()) / len(losses)
        if done < HINTS_ALONE:
            return HINTS[0] * like + 0.1 * (cls + 2 * box), cls, box, like
        return cls + 2 * box + (HINTS[0] + done * (HINTS[1] - HINTS[0])) * like, cls, box, like

    def learn(self, done, images, targets, taught):
        self.optim.rate(rate((done - self.late) / (1 - self.late), self.step, self.lr))
        if self.stage == "blocks":
            loss, *parts = self.learn_blocks(images, taught)
        else:
            loss, *parts = self.learn_whole(images, targets, taught, done)
        loss.backward()
        self.optim.step()
        self.step += 1
        return [p.item() for p in parts]

    @torch.no_grad()
    def check(self, weights, batch):
        """Error of every block on held-out pictures, given the teacher's planes and given our own."""
        images, _, taught = batch
        model, theirs, lines = Detector().to(memory_format=torch.channels_last), taught_planes(taught), []
        model.load_state_dict(weights)
        self.likeness.eval()
        for kind, use in (("forced", theirs), ("chained", None)):
            mine = {}
            keep = lambda name, plane: mine.setdefault(name, plane)
            model(pixels(images), forced(use, mine) if use else keep)
            losses = {k: float(v) for k, v in self.like(mine, theirs).items()}
            lines.append(kind + " " + " ".join(f"{k} {v:.3f}" for k, v in losses.items()))
        self.likeness.train()
        return lines

    def save(self, path, average):
        state = dict(
            model=self.model.state_dict(), likeness=self.likeness.state_dict(), average=average.state,
            optim=self.optim.state_dict(), spent=self.spent, step=self.step,
        )
        torch.save(state, path + ".part")
        os.replace(path + ".part", path)


def pools_of(args):
    pools, shares = [data.real(args.data, "train")], [1.0]
    if args.stage == "whole" and args.sim:
        pools.append(data.simulated(args.sim))
        shares = [1 - args.sim_share, args.sim_share]
    print("pictures:", [len(p) for p in pools], flush=True)
    return pools, shares


def lower_priority(_):
    os.nice(WORKER_NICE)


def loader(args, pools, shares, clock, seed):
    batches = Batches(pools, shares, args.batch, seed, clock, args.teacher, SIZES[args.stage])
    return iter(DataLoader(
        batches, batch_size=None, num_workers=args.workers, prefetch_factor=3, worker_init_fn=lower_priority
    ))


class Replay:
    """Batches as they come, and earlier ones again while none is ready: helpers may lag behind."""

    def __init__(self, batches, keep=64):
        self.kept, self.fresh = collections.deque(maxlen=keep), queue.Queue(2)
        self.rng = np.random.default_rng(0)
        threading.Thread(target=self.fill, args=(batches,), daemon=True).start()

    def fill(self, batches):
        for batch in batches:
            self.fresh.put(batch)

    def next(self):
        if self.fresh.empty() and len(self.kept) >= 8:
            return self.kept[self.rng.integers(len(self.kept))]
        self.kept.append(self.fresh.get())
        return self.kept[-1]


def held_out(args):
    """One batch of held-out pictures, to measure blocks on."""
    if not args.teacher:
        return None
    pool = data.real(args.data, "val")[::24]
    return next(iter(Batches([pool], [1.0], 16, 0, torch.zeros(1), args.teacher, ((9.0, (320,)),))))


def work(args):
    last, run = os.path.join(args.out, "last.pt"), Run(args)
    pools, shares = pools_of(args)
    clock, check = torch.zeros(1).share_memory_(), held_out(args)
    averaged = run.restore(last) if args.resume and os.path.exists(last) else None
    batches = Replay(loader(args, pools, shares, clock, args.seed + run.step))
    if averaged is None:
        run.begin(args.begin, batches.next())
    average = Average(run.model, averaged, run.step)
    saved = tick = time.monotonic()
    sums, waited = np.zeros(3), 0.0
    while run.spent < args.minutes * 60:
        clock[0] = args.late + (1 - args.late) * run.spent / (args.minutes * 60)
        batch = batches.next()
        waited += time.monotonic() - tick
        sums += run.learn(float(clock), *batch)
        average.update(run.model)
        now = time.monotonic()
        run.spent, tick = run.spent + min(now - tick, PAUSE), now
        if run.step % 25 == 0:
            cls, box, like = sums / 25
            at = f"step {run.step} {run.spent / 60:.1f} min (waited {waited:.0f} s)"
            print(f"{at} cls {cls:.3f} box {box:.3f} like {like:.4f}", flush=True)
            sums[:], waited = 0, 0.0
        if now - saved > args.save_minutes * 60:
            saved = now
            run.save(last, average)
            if check:
                print(*run.check(average.state, check), sep="\n", flush=True)
            tick = time.monotonic()
    run.save(last, average)
    if check:
        print(*run.check(average.state, check), sep="\n", flush=True)


def arguments():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("stage", choices=SIZES)
    ap.add_argument("--data", required=True, help="folder with annotations.json and images/")
    ap.add_argument("--sim", help="folder with the simulator's annotations.json and pictures")
    ap.add_argument("--teacher", help="YOLOX-nano as ONNX; stage `blocks` is nothing without it")
    ap.add_argument("--begin", help="checkpoint of an earlier run, or exported file, whose weights to begin with")
    ap.add_argument("--out", required=True)
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--late", type=float, default=0.0, help="share of the schedule (but the rate's) to leave out: for trained chains")
    ap.add_argument("--sim-share", type=float, default=0.4)
    ap.add_argument("--batch", type=int, default=16)
    ap.add_argument("--lr", type=float, help="peak rate; by default what suits the stage")
    ap.add_argument("--workers", type=int, default=1)
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--half", action="store_true", help="stage `whole` in bfloat16, but for its outputs and the end of the run")
    ap.add_argument("--save-minutes", type=float, default=3)
    ap.add_argument("--resume", action="store_true")
    args = ap.parse_args()
    if args.lr is None:
        args.lr = {"blocks": 0.03, "whole": 0.004}[args.stage]
    if args.stage == "blocks" and not args.teacher:
        ap.error("stage blocks needs --teacher")
    return args


def main():
    args = arguments()
    torch.set_num_threads(1)
    os.makedirs(args.out, exist_ok=True)
    work(args)


if __name__ == "__main__":
    main()
