"""The mean of two checkpoints' averaged weights: one run's strength with its successor's.

Only for runs of which the second began from the first; weights of strangers have no useful mean.
"""
import argparse

import torch


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("first")
    ap.add_argument("second")
    ap.add_argument("out")
    ap.add_argument("--share", type=float, default=0.5, help="of the second")
    args = ap.parse_args()
    a, b = (torch.load(p, weights_only=True) for p in (args.first, args.second))
    mixed = {k: torch.lerp(v, b["average"][k], args.share) for k, v in a["average"].items()}
    torch.save(dict(average=mixed, likeness=b["likeness"]), args.out)


if __name__ == "__main__":
    main()
