"""Write a model into one GGUF file, which others open without our code.

The other way round than `pretrained.gguf` and `pretrained.smollm2` read: header,
metadata, a table of tensors, and the tensors' blocks. Queries and keys go in
llama.cpp's order of rows. The tokenizer goes along, as lists of tokens and merges,
and the chat template. Vectors stay in float32, as llama.cpp has it. Left out:
architectures other than Llama's, and files in several parts.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.bpe import DIGITS, GPT2_PATTERN, PATTERN
from course_lib.chat_format import CHAT_TEMPLATE
from course_lib.pretrained.gguf import ARRAY, MAGIC, STRING
from course_lib.pretrained.gguf_blocks import FORMATS
from course_lib.pretrained.smollm2 import NAMES, SPECIAL
from course_lib.quantization.blocks import ENCODERS, WEIGHTS, encode
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import Transformer

VERSION, ALIGNMENT, NORMAL = 3, 32, 1
KINDS = {form.name: number for number, form in FORMATS.items()}
FLOATS = {"F32": "<f4", "F16": "<f2"}
FILE_TYPES = {  # what most of a file is stored in, by llama.cpp's own numbers
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9,
}  # fmt: skip
CUTS = {  # our patterns: the word by which llama.cpp knows how a text is cut
    (PATTERN,): "gpt-2",  # its numbers of many digits: no merge of ours joins two
    (GPT2_PATTERN,): "gpt-2",
    (DIGITS, GPT2_PATTERN): "smollm",
}

# ---- bytes


def text_bytes(text: str) -> bytes:
    """A length in 8 bytes, then the text in UTF-8.

    >>> text_bytes("ab")
    b'\\x02\\x00\\x00\\x00\\x00\\x00\\x00\\x00ab'
    """
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value_bytes(value: object) -> bytes:
    """A value of metadata after its type: text, yes or no, number, or a list."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + text_bytes(value)
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if value and isinstance(value[0], str):
        head = struct.pack("<IIQ", ARRAY, STRING, len(value))
        return head + b"".join(map(text_bytes, value))
    return struct.pack(f"<IIQ{len(value)}i", ARRAY, 5, len(value), *value)


class Part(NamedTuple):
    """A tensor as it goes into the file."""

    shape: tuple[int, ...]  # as NumPy has it
    kind: int  # a key of FORMATS
    data: bytes


def part(weights: np.ndarray, name: str) -> Part:
    """A tensor in the format of this name; vectors in F32 whatever it is."""
    name = "F32" if weights.ndim == 1 else name
    if name in FLOATS:
        data = np.ascontiguousarray(weights, dtype=FLOATS[name]).tobytes()
    else:
        data = encode(weights, name).tobytes()
    return Part(weights.shape, KINDS[name], data)


def padding(size: int) -> bytes:
    """Zeros up to the next multiple of 32."""
    return bytes(-size % ALIGNMENT)


def write_gguf(
    path: str | Path, metadata: Mapping[str, object], parts: Mapping[str, Part]
) -> None:
    """Write the four sections of a GGUF file, one after the other."""
    head = MAGIC + struct.pack("<IQQ", VERSION, len(parts), len(metadata))
    head += b"".join(text_bytes(key) + value_bytes(v) for key, v in metadata.items())
    start = 0
    for name, (shape, kind, data) in parts.items():
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += text_bytes(name) + sizes + struct.pack("<IQ", kind, start)
        start += len(data) + len(padding(len(data)))
    with Path(path).open("wb") as file:
        file.write(head + padding(len(head)))
        for one in parts.values():
            file.write(one.data + padding(len(one.data)))


# ---- a model of ours


def pairs_of_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows of queries or keys in llama.cpp's order: each pair side by side.

    rows (heads * K, D). The inverse of `smollm2.halves`.

    >>> pairs_of_halves(np.array([[0], [1], [10], [11]]), heads=1).T
    array([[ 0, 10,  1, 11]])
    """
    parts = rows.reshape(heads, 2, -1, rows.shape[1])  # (heads, 2, K/2, D)
    return parts.swapaxes(1, 2).reshape(rows.shape)


def their_name(name: str) -> str:
    """llama.cpp's name for a tensor of our Transformer.

    >>> their_name("blocks.3.attention.query.weight"), their_name("norm.weight")
    ('blk.3.attn_q.weight', 'output_norm.weight')
    """
    theirs = {ours: word for word, ours in NAMES.items()} | {"unembed": "output"}
    kept = name.replace("attention.", "attention/").replace("mlp.", "mlp/").split(".")
    return ".".join(theirs.get(word.replace("/", "."), word) for word in kept)


def model_facts(model: Transformer, name: str, form: str) -> dict[str, object]:
    """The metadata that describe a Llama model."""
    config = model.config
    sizes = {
        "context_length": config.context,
        "embedding_length": config.width,
        "block_count": config.layers,
        "feed_forward_length": config.hidden,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.K,
        "attention.value_length": config.K,
        "attention.layer_norm_rms_epsilon": float(config.norm_eps),
        "rope.dimension_count": config.K,
        "rope.freq_base": float(config.rope_base),
        "vocab_size": config.vocabulary,
    }
    facts = {"general.architecture": "llama", "general.name": name}
    facts |= {"general.file_type": FILE_TYPES[form], "general.quantization_version": 2}
    return facts | {f"llama.{key}": value for key, value in sizes.items()}


def tokenizer_facts(tokenizer: Tokenizer) -> dict[str, object]:
    """The metadata that describe a byte-level BPE, and our chat template."""
    if tokenizer.patterns not in CUTS:
        raise ValueError(
            "GGUF names the way a text is cut into words, and has no name for these "
            f"patterns: {tokenizer.patterns}."
        )
    strings = tokenizer.as_strings()
    special = set(strings["specials"])
    kinds = [SPECIAL if token in special else NORMAL for token in strings["tokens"]]
    facts = {
        "model": "gpt2",
        "pre": CUTS[tokenizer.patterns],
        "tokens": strings["tokens"],
        "token_type": kinds,
        "merges": [" ".join(pair) for pair in strings["merges"]],
        "add_bos_token": False,
        "add_space_prefix": False,
    }
    if tokenizer.end is not None:
        facts |= {"eos_token_id": tokenizer.end, "padding_token_id": tokenizer.pad}
        facts |= {"bos_token_id": tokenizer.end}  # never put in; readers want one
    facts = {f"tokenizer.ggml.{key}": value for key, value in facts.items()}
    chats = {} if tokenizer.user is None else {"tokenizer.chat_template": CHAT_TEMPLATE}
    return facts | chats


def shapes(model: Transformer) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor by its name."""
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def check_llama(model: Transformer, form: str) -> None:
    """Refuse what the file's words cannot say, in a sentence."""
    if form not in FILE_TYPES:
        raise ValueError(f"There is no {form!r}; there are {', '.join(FILE_TYPES)}.")
    shape = (model.config.positions, model.config.norm, model.config.mlp)
    if (
        shape != ("rotary", "rms", "swiglu")
        or model.config.bias
        or model.config.qkv_bias
    ):
        raise ValueError(
            "Only models of Llama's kind are written: rotary positions, RMSNorm, "
            "SwiGLU and no biases."
        )
    plain = Transformer(model.config)
    if shapes(model) != shapes(plain):
        raise ValueError(
            "Write a plain model in the shape that its config tells: merge its adapter, "
            "or unpack it, before."
        )
    rows = [p.shape[1] for p in model.parameters() if p.dim() == 2]
    if form in ENCODERS and any(row % WEIGHTS for row in rows):
        raise ValueError(
            f"{form} has blocks of {WEIGHTS}, which do not divide rows of "
            f"{next(row for row in rows if row % WEIGHTS)} weights."
        )


def to_gguf(
    model: Transformer,
    tokenizer: Tokenizer,
    path: str | Path,
    form: str = "F16",
    name: str = "course model",
) -> None:
    """Write a Transformer of Llama's kind and its tokenizer into one file.

    form: of all matrices, F32, F16, Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0. transformers
    opens it by `from_pretrained(folder, gguf_file=...)`, our own `read_gguf` too.
    """
    check_llama(model, form)
    config, parts = model.config, {}
    for ours, tensor in model.named_parameters():
        weights = tensor.detach().float().cpu().numpy()
        if ours.endswith(("query.weight", "key.weight")):
            heads = config.heads if "query" in ours else config.kv_heads
            weights = pairs_of_halves(weights, heads)
        parts[their_name(ours)] = part(weights, form)
    facts = model_facts(model, name, form) | tokenizer_facts(tokenizer)
    write_gguf(path, facts, parts)
