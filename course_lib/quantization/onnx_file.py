"""A model as an ONNX graph: operations and weights in a file for other runtimes.

The exporter runs the model once and writes down what happens. A size that is not
declared *dynamic* is frozen to the example's, so a graph made from one text of 16
tokens refuses two texts, or 17 tokens. What depends on the numbers themselves, such
as our model's checks of its input, cannot be written down and is left out. Left out
as well: the cache, so a runtime reads the whole text anew for every token.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.attention import rotary
from course_lib.transformer import Transformer


class WithoutChecks(nn.Module):
    """What a Transformer does with ids, without looking at their values."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, T) to logits (B, T, V)."""
        model, config = self.model, self.model.config
        positions = torch.arange(ids.shape[1], device=ids.device)
        x, rotation = model.embed(ids), None
        if config.positions == "learned":
            x = x + model.places(positions)
        else:
            rotation = rotary(positions.unsqueeze(-2), config.K, config.rope_base)
        for block in model.blocks:
            x = block(x, rotation)
        return model.head(model.norm(x))


def to_onnx(model: Transformer, path: str | Path, dynamic: bool = True) -> None:
    """Write the model as a graph from `ids` (B, T) to `logits` (B, T, V).

    dynamic: B and T may be anything up to the context; else they are frozen at 2 and
    16, to see what that does. Needs the packages onnx and onnxscript.
    """
    missing = [name for name in ("onnx", "onnxscript") if not find_spec(name)]
    if missing:
        raise ImportError(
            f"Exporting to ONNX needs {missing[0]}: pip install onnx onnxscript"
        )
    ids = torch.zeros(2, min(16, model.config.context), dtype=torch.int64)
    batch = torch.export.Dim("batch", min=1, max=4096)
    tokens = torch.export.Dim("tokens", min=1, max=model.config.context)
    torch.onnx.export(
        WithoutChecks(model).eval(),
        (ids,),
        str(path),
        dynamo=True,
        dynamic_shapes={"ids": {0: batch, 1: tokens}} if dynamic else None,
        input_names=["ids"],
        output_names=["logits"],
        external_data=False,
        verbose=False,
    )
