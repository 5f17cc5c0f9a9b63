"""Stand-ins for parts of networks whose sizes a trace would freeze at those of the image that it follows.

Not here: the trace (``exporting.py``).  The fact to know: each answers as what it stands for, but its sizes follow the
image; what is not known here and frozen all the same is found by holding the file against the network.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from mmseg.models.utils import Upsample
from torch import Tensor, nn
from torch.nn import functional


class _Larger(nn.Module):
    """mmseg's ``Upsample`` by a whole factor, with a size that follows the image."""

    def __init__(self, old: Upsample) -> None:
        super().__init__()
        self._factor, self._mode, self._corners = int(old.scale_factor), old.mode, old.align_corners

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2] * self._factor, x.shape[3] * self._factor)
        return functional.interpolate(x, size=size, mode=self._mode, align_corners=self._corners)


class _Pool(nn.Module):
    """``AdaptiveAvgPool2d`` as two products of matrices, which are made of the image's size.

    Cell i of n averages the places from floor(i * length / n) to ceil((i + 1) * length / n), as torch's own does.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self._cells = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (self._weights(x.shape[axis], n) for axis, n in zip((2, 3), self._cells, strict=True))
        return torch.matmul(torch.matmul(rows, x), columns.transpose(0, 1))

    @staticmethod
    def _weights(length: Any, cells: int) -> Tensor:
        length = torch.as_tensor(length)
        cell, place = torch.arange(cells).reshape(-1, 1), torch.arange(length).reshape(1, -1)
        first = torch.div(cell * length, cells, rounding_mode="floor")
        end = torch.div((cell + 1) * length + cells - 1, cells, rounding_mode="floor")
        inside = ((place >= first) & (place < end)).float()
        return inside / inside.sum(dim=1, keepdim=True)


class _Attention(nn.Module):
    """``MultiheadAttention`` of one image without masks: places (L, 1, C) to (L, 1, C).

    torch's own asks for the number of places, which ONNX takes for a constant behind mmseg's changes of shape.
    """

    def __init__(self, old: nn.MultiheadAttention) -> None:
        super().__init__()
        self._old = old

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **others: Any) -> tuple[Tensor, None]:
        old = self._old
        if masks := [name for name in ("attn_mask", "key_padding_mask") if others.get(name) is not None]:
            raise ValueError(f"attention with {masks[0]}")
        weights = old.in_proj_weight.chunk(3)
        biases = (None,) * 3 if old.in_proj_bias is None else old.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(x, weight, bias).reshape(-1, old.num_heads, old.head_dim).transpose(0, 1)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        shares = torch.matmul(q * old.head_dim**-0.5, k.transpose(1, 2)).softmax(dim=-1)
        seen = torch.matmul(shares, v).transpose(0, 1).reshape(-1, 1, old.embed_dim)
        return old.out_proj(seen), None


def _is_plain(one: nn.Module) -> TypeGuard[nn.MultiheadAttention]:
    """Whether it is an attention as transformers have it as a rule."""
    return (
        type(one) is nn.MultiheadAttention
        and one._qkv_same_embed_dim
        and one.bias_k is None
        and not one.add_zero_attn
        and not one.batch_first
    )


def make_traceable(model: nn.Module) -> None:
    """Put modules whose sizes follow the image in the place of those whose sizes a trace would freeze."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is Upsample and _grows_by_whole(child):
                setattr(parent, name, _Larger(child))
            elif _is_plain(child):
                setattr(parent, name, _Attention(child))
            elif type(child) is nn.AdaptiveAvgPool2d and (cells := _pair(child.output_size)) not in ((1, 1), None):
                setattr(parent, name, _Pool(*cells))


def _grows_by_whole(one: Any) -> bool:
    return not one.size and one.scale_factor is not None and float(one.scale_factor).is_integer()


def _pair(size: Any) -> tuple[int, int] | None:
    both = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    return None if None in both else (int(both[0]), int(both[1]))
