"""Models that were trained elsewhere or earlier, and the folders they travel in."""

from course_lib.pretrained.checkpoints import card, load, tokenizer
from course_lib.pretrained.folders import from_hf, to_hf
from course_lib.pretrained.gguf import read_gguf
from course_lib.pretrained.minilm import minilm
from course_lib.pretrained.smollm2 import smollm2
from course_lib.pretrained.tokenizer_json import tokenizer_to_hf

__all__ = [
    "card",
    "from_hf",
    "load",
    "minilm",
    "read_gguf",
    "smollm2",
    "to_hf",
    "tokenizer",
    "tokenizer_to_hf",
]
