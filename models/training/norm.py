"""Batch norm with leaky ReLU of a training step, by norm.c where it fits, else by PyTorch.

norm.c is compiled for this machine when first asked for; without a C compiler, in evaluation,
or for anything but channels-last bf16 the answer comes from PyTorch.
"""
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile

import torch
from torch import nn
from torch.nn import functional as F

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "norm.c")
FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-shared", "-fPIC")


@functools.cache
def library():
    """norm.c as a library, or None without a compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "norm.so")
        subprocess.run([compiler, *FLAGS, SOURCE, "-o", path, "-lm"], check=True)
        return ctypes.CDLL(path)


def call(function, *arguments):
    """Tensors as pointers, then whole and real numbers."""
    kinds = {int: ctypes.c_int64, float: ctypes.c_float}
    made = [ctypes.c_void_p(a.data_ptr()) if torch.is_tensor(a) else kinds[type(a)](a) for a in arguments]
    if getattr(library(), function)(*made):
        raise ValueError(f"{function}: shape not supported: {[a.shape for a in arguments if torch.is_tensor(a)]}")


class Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps, slope):
        rows, c = x.numel() // x.shape[1], x.shape[1]
        y, mean, inverse = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        call("norm_forward", x, y, rows, c, weight, bias, eps, slope, mean, inverse)
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        ctx.slope = slope
        ctx.mark_non_differentiable(mean, inverse)
        return y, mean, inverse

    @staticmethod
    def backward(ctx, dy, *_):
        x, weight, bias, mean, inverse = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        rows, c = x.numel() // x.shape[1], x.shape[1]
        call("norm_backward", x, dy, dx, rows, c, weight, bias, mean, inverse, ctx.slope, dweight, dbias)
        return dx, dweight, dbias, None, None


def norm(x, bn, slope):
    """`leaky_relu(bn(x), slope)`; slope 1 leaves the activation out."""
    fits = isinstance(bn, nn.BatchNorm2d) and bn.training and x.dtype == torch.bfloat16 and x.is_contiguous(memory_format=torch.channels_last)
    if not (fits and library()):
        x = bn(x)
        return x if slope == 1.0 else F.leaky_relu(x, slope)
    y, mean, inverse = Norm.apply(x, bn.weight, bn.bias, bn.eps, slope)
    with torch.no_grad():
        n = x.numel() // x.shape[1]
        bn.num_batches_tracked += 1
        bn.running_mean.lerp_(mean, bn.momentum)
        bn.running_var.lerp_((inverse**-2 - bn.eps) * (n / max(1, n - 1)), bn.momentum)
    return y
