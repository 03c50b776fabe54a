r"""A small encoder of our own: questions and the texts that answer them side by side.

The vector of a text is the mean of the hidden states that a `Transformer` has over
it. As it comes from language modelling, such a mean says little about the meaning.
It learns from pairs that belong together (Karpukhin et al. 2020): in a batch, every
question must pick its own text among the texts of all others. That loss is called
InfoNCE (van den Oord et al. 2018, eq. 4). Left out: two encoders, one a side; hard
texts that are searched for with the encoder itself.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from course_lib.pretrained.encoder import mean_pool
from course_lib.pretrained.minilm import batches_by_length
from course_lib.tokenizer import Tokenizer
from course_lib.training import History, train
from course_lib.transformer import Transformer

Pairs = Callable[[int], Sequence[tuple[str, str]]]  # a step to questions with texts
TEMPERATURE = 0.05


def info_nce(
    queries: Tensor, passages: Tensor, temperature: float = TEMPERATURE
) -> Tensor:
    r"""What each question paid for picking its own text among all of the batch:
    $-\log \frac{e^{s_{ii} / \tau}}{\sum_j e^{s_{ij} / \tau}}$, in nats, minimised.

    queries, passages (B, D) of any length, row i with row i; s are cosines. Returns
    (B,): log B where all texts are alike, near 0 where only the right one is near.

    How: rows to length 1, all cosines at once, over the temperature; then the
    logsumexp of each row minus what stands on the diagonal.

    >>> info_nce(torch.ones(4, 2), torch.ones(4, 2)).exp().round()
    tensor([4., 4., 4., 4.])
    """
    assert queries.shape == passages.shape, f"{queries.shape=} {passages.shape=}"
    queries = functional.normalize(queries, dim=-1)
    passages = functional.normalize(passages, dim=-1)
    scores = queries @ passages.T / temperature  # (B, B)
    return scores.logsumexp(dim=1) - scores.diagonal()


class SmallEncoder(nn.Module):
    """A Transformer and its tokenizer as an embedder: `embed` is what stores take.

    A text longer than the model's context counts by its beginning.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    def ids(self, texts: Sequence[str]) -> Tensor:
        """One row of tokens a text, -1 behind its end: (B, T)."""
        longest, pad = self.model.config.context, self.tokenizer.pad
        rows = [self.tokenizer.encode(text)[:longest] or [pad] for text in texts]
        tensors = [torch.tensor(row) for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=-1)

    def forward(self, ids: Tensor) -> Tensor:
        """The mean hidden state of each row: (B, T) to (B, D)."""
        hidden = self.model.hidden(ids.clamp(min=0))  # nobody looks ahead at padding
        return mean_pool(hidden, ids >= 0)

    @torch.no_grad()
    def embed(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Rows of length 1 in the order of the texts: (N, D) float32."""
        if isinstance(texts, str):
            raise ValueError(
                "An embedder takes a list of texts: put [ and ] around it."
            )
        rows = [self.tokenizer.encode(text) for text in texts]
        out = torch.zeros(len(texts), self.model.config.width)
        device = next(self.model.parameters()).device
        for places in batches_by_length([torch.tensor(r) for r in rows], batch_size):
            ids = self.ids([texts[i] for i in places]).to(device)
            out[places] = self(ids).cpu()
        return functional.normalize(out, dim=-1).numpy()


def train_encoder(
    encoder: SmallEncoder,
    pairs: Pairs,
    steps: int = 300,
    lr: float = 1e-3,
    temperature: float = TEMPERATURE,
) -> History:
    """Pull questions and their texts together; changes the encoder's model.

    pairs(step): questions with the texts that answer them, the texts of a batch
    unlike each other. Where texts of one batch differ little, the encoder must learn
    exactly that difference.
    """

    def batches(step: int) -> tuple[Tensor, Tensor]:
        questions, texts = zip(*pairs(step), strict=True)
        return encoder.ids(questions), encoder.ids(texts)

    def loss(model: SmallEncoder, questions: Tensor, texts: Tensor):
        losses = info_nce(model(questions), model(texts), temperature)
        return losses, torch.ones_like(losses, dtype=torch.bool)

    return train(encoder, batches, loss, steps, lr)
