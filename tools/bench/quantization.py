"""What few bits cost in time, told as it is: blocks packed for a file, and products of int8 codes.

Packing is compared with the `gguf` package on the same matrix, byte for byte. Theirs works on 16 rows at a time, ours on
the whole matrix. The other two are a linear layer on 32 tokens. "stored" keeps codes of 8 bits and makes
floats at each call, as `quantized` models do. "integers" multiplies codes by codes, as `int8_model` does; to its inputs
and weights both sides come as codes or as floats already, so only product and scales are timed. Theirs is the product of
the floats that the codes stand for, so both say the same. Kernels that read codes are left out: lesson 11 has torch's.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from course_lib.quantization.activations import int8_linear, quantize_tokens
from course_lib.quantization.blocks import encode
from course_lib.quantization.groups import round_to_nearest
from course_lib.quantization.integers import quantize, symmetric_scale
from tools.bench.harness import Claim, Side

WORK = {"packing Q4_0": 1, "packing Q8_0": 1, "int8, stored": 32, "int8, integers": 32}
SPREAD = 0.02  # of weights, so that outputs are near 1


def prepare(seed: int, what: str, V: int, D: int, B: int) -> tuple[Side, Side]:
    """V rows of D weights, and what is done with them. B: matrices to pack, or tokens to read."""
    draw = torch.Generator().manual_seed(seed)
    if what.startswith("packing"):
        matrix = torch.randn(B * V, D, generator=draw) * SPREAD
        return packing(matrix, what.removeprefix("packing "))
    matrix = torch.randn(V, D, generator=draw) * SPREAD
    x = torch.randn(B, D, generator=draw)
    return stored(matrix, x) if what == "int8, stored" else integers(matrix, x)


def packing(matrix: Tensor, form: str) -> tuple[Side, Side]:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize as packed

    numbers, kind = matrix.numpy(), GGMLQuantizationType[form]

    def ours() -> Tensor:
        return torch.from_numpy(encode(numbers, form).view("uint8"))

    def theirs() -> Tensor:
        return torch.from_numpy(packed(numbers, kind)).flatten()

    return ours, theirs


def stored(matrix: Tensor, x: Tensor) -> tuple[Side, Side]:
    store = round_to_nearest(matrix, bits=8, group="channel")
    floats = store()
    return lambda: functional.linear(x, store()), lambda: functional.linear(x, floats)


def integers(matrix: Tensor, x: Tensor) -> tuple[Side, Side]:
    codes, scale = quantize_tokens(x)
    weight_scale = symmetric_scale(matrix, dim=1)
    weight_codes = quantize(matrix, weight_scale)
    ours = partial(int8_linear, codes, scale, 0, weight_codes, weight_scale[:, 0])
    inputs, floats = codes * scale, weight_codes * weight_scale
    return ours, lambda: functional.linear(inputs, floats)


CLAIM = Claim(
    name="quantization",
    sentence="Few bits save room, not time: our packing takes more time than the gguf package, and products of int8 codes more than those of floats.",
    faster=False,
    sizes=tuple(
        {"what": what, "V": 3072, "D": 768, "B": B} for what, B in WORK.items()
    ),
    prepare=prepare,
)
