"""Steps for matrices and for everything else.

Muon: the momentum of a matrix with all its directions made equally long. Imitating a block is
a badly conditioned regression (neighbouring channels say nearly the same), where Adam moved
so slowly that it had reached less than half in the same time (measured, README.md).
"""
import torch

NEWTON_SCHULZ = 3.4445, -4.775, 2.0315


def orthogonal(g):
    """The nearest matrix to `g` with all singular values about 1."""
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g
    x = x / (x.norm() + 1e-9)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """The length of a step is `lr` times the size the weights had when training began.

    Decay, because it moves weights also in directions no input has: they would stay there and
    blow up the first input that differs.
    """

    def __init__(self, weights, lr, momentum=0.95, decay=0.1):
        super().__init__(weights, dict(lr=lr, momentum=momentum, decay=decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"], state["size"] = torch.zeros_like(p), p.square().mean().sqrt()
                state["momentum"].mul_(group["momentum"]).add_(p.grad)
                ahead = p.grad + group["momentum"] * state["momentum"]
                step = orthogonal(ahead.flatten(1)).view_as(p)
                step = step * (state["size"] / (step.square().mean().sqrt() + 1e-9))
                p.mul_(1 - group["lr"] * group["decay"]).sub_(group["lr"] * step)


class Both:
    """Muon for the matrices of the blocks, Adam for depthwise filters, biases and output layers.

    The rates are in shares of the peak rate `lr`, which `rate` moves.
    """

    def __init__(self, model, lr):
        outputs = {id(p) for head in model.heads for m in (head.cls, head.box) for p in m.parameters()}
        matrix = lambda p: p.ndim == 4 and p.shape[1] > 1 and id(p) not in outputs
        every = list(model.parameters())
        depthwise = [p for p in every if p.ndim == 4 and p.shape[1] == 1]
        rest = [p for p in every if not matrix(p) and not any(p is d for d in depthwise)]
        self.muon = Muon([p for p in every if matrix(p)], lr)
        self.adam = torch.optim.Adam(
            [dict(params=depthwise, share=0.3), dict(params=rest, share=0.1)], lr=lr, betas=(0.9, 0.99)
        )

    def rate(self, lr):
        for group in self.muon.param_groups:
            group["lr"] = lr
        for group in self.adam.param_groups:
            group["lr"] = lr * group["share"]

    def step(self):
        self.muon.step()
        self.adam.step()
        self.zero_grad()

    def zero_grad(self):
        self.muon.zero_grad()
        self.adam.zero_grad()

    def state_dict(self):
        return self.muon.state_dict(), self.adam.state_dict()

    def load_state_dict(self, state):
        self.muon.load_state_dict(state[0])
        self.adam.load_state_dict(state[1])
