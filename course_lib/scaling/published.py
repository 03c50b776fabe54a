"""Published models as data: shape, parameters, tokens, GPU hours, and who says so.

Shapes are counted by parameters.py, and a test compares the counts with what was
printed. None stands where nothing was published. Hours are those of pre-training as
reported, lost time included, so the utilisation they give is a lower bound. Left
out: later training stages, and models without a paper or a card.
"""

from dataclasses import dataclass
from functools import partial

from course_lib.scaling.parameters import Experts, Latent, parameters
from course_lib.transformer import Config


@dataclass(frozen=True)
class Published:
    """One model, each figure as its source prints it."""

    config: Config
    printed: str  # parameters in all, with the digits of the source
    source: str  # of shape, parameters and tokens
    tokens: float | None = None  # read in pre-training
    printed_active: str = ""  # parameters used for one token
    experts: Experts | None = None
    latent: Latent | None = None
    beside: int = 0  # parameters that a Config cannot tell, explained in a comment
    gpu: str = ""  # a name in cost.GPUS
    hours: float | None = None  # GPU hours
    hours_source: str = ""
    length: int | None = None  # tokens of a text in pre-training; None: the context

    def count(self, active: bool = False) -> int:
        """Parameters counted from the shape."""
        counted = parameters(self.config, self.experts, self.latent, active)
        return counted + self.beside


LLAMA_1 = "Touvron et al. 2023a (arXiv 2302.13971), table 2"
LLAMA_1_HOURS = "the same, table 15"
LLAMA_2 = "Touvron et al. 2023b (arXiv 2307.09288), table 1"
LLAMA_2_HOURS = "the same, table 2"
# Of the paper's table 3 the first version misprints the width of the MLPs (6,144 for
# 14,336), and 128,000 words leave out 256 special tokens.
LLAMA_3 = "Meta, model card of Llama 3 (April 2024); shape: arXiv 2407.21783, table 3"
LLAMA_3_HOURS = "the same card, which says more than 15 trillion tokens"

llama = partial(Config, vocabulary=32_000, context=2048, tied=False)
llama_2 = partial(llama, context=4096)
llama_3 = partial(llama, vocabulary=128_256, context=8192, kv_heads=8, rope_base=5e5)

PUBLISHED = {
    "GPT-3": Published(
        Config(
            vocabulary=50_257, context=2048, width=12288, layers=96, heads=96,
            kv_heads=96, hidden=49152, positions="learned", norm="layer", mlp="gelu",
            bias=True,
        ),
        "174.6B",
        "Brown et al. 2020 (arXiv 2005.14165), tables 2.1 and D.1, section 2.3",
        tokens=300e9,
        gpu="V100",
    ),
    "Chinchilla": Published(
        Config(
            vocabulary=32_000, context=2048, width=8192, layers=80, heads=64,
            kv_heads=64, hidden=32768, mlp="gelu",
        ),
        "70B",
        "Hoffmann et al. 2022 (arXiv 2203.15556), table 4",
        tokens=1.4e12,
        beside=80 * 8192 * 8192,  # each layer's matrix of relative positions
    ),
    "LLaMA-7B": Published(
        llama(width=4096, layers=32, heads=32, kv_heads=32, hidden=11008),
        "6.7B", LLAMA_1, 1e12, gpu="A100", hours=82_432, hours_source=LLAMA_1_HOURS,
    ),
    "LLaMA-13B": Published(
        llama(width=5120, layers=40, heads=40, kv_heads=40, hidden=13824),
        "13.0B", LLAMA_1, 1e12, gpu="A100", hours=135_168, hours_source=LLAMA_1_HOURS,
    ),
    "LLaMA-33B": Published(
        llama(width=6656, layers=60, heads=52, kv_heads=52, hidden=17920),
        "32.5B", LLAMA_1, 1.4e12, gpu="A100", hours=530_432,
        hours_source=LLAMA_1_HOURS,
    ),
    "LLaMA-65B": Published(
        llama(width=8192, layers=80, heads=64, kv_heads=64, hidden=22016),
        "65.2B", LLAMA_1, 1.4e12, gpu="A100", hours=1_022_362,
        hours_source=LLAMA_1_HOURS,
    ),
    "Llama-2-7B": Published(
        llama_2(width=4096, layers=32, heads=32, kv_heads=32, hidden=11008),
        "7B", LLAMA_2, 2e12, gpu="A100", hours=184_320, hours_source=LLAMA_2_HOURS,
    ),
    "Llama-2-70B": Published(
        llama_2(width=8192, layers=80, heads=64, kv_heads=8, hidden=28672),
        "70B", LLAMA_2, 2e12, gpu="A100", hours=1_720_320, hours_source=LLAMA_2_HOURS,
    ),
    "Llama-3-8B": Published(
        llama_3(width=4096, layers=32, heads=32, hidden=14336),
        "8B", LLAMA_3, 15e12, gpu="H100", hours=1.3e6, hours_source=LLAMA_3_HOURS,
    ),
    "Llama-3-70B": Published(
        llama_3(width=8192, layers=80, heads=64, hidden=28672),
        "70B", LLAMA_3, 15e12, gpu="H100", hours=6.4e6, hours_source=LLAMA_3_HOURS,
    ),
    "Llama-3.1-405B": Published(
        llama_3(width=16384, layers=126, heads=128, hidden=53248, context=131_072),
        "405B", "Grattafiori et al. 2024 (arXiv 2407.21783), table 3 and section 3",
        15.6e12, gpu="H100", hours=30.84e6,
        hours_source="Meta, model card of Llama 3.1 (July 2024)",
        length=8192,  # longer ones only at the end: section 3.4
    ),
    "Mixtral-8x7B": Published(
        llama(
            width=4096, layers=32, heads=32, kv_heads=8, hidden=14336, context=32_768,
            rope_base=1e6,
        ),
        "46.7B", "Mistral AI, Mixtral of experts (11 December 2023); arXiv 2401.04088",
        printed_active="12.9B", experts=Experts(count=8, chosen=2, hidden=14336),
    ),
    "DeepSeek-V3": Published(
        Config(
            vocabulary=129_280, context=4096, width=7168, layers=61, heads=128,
            kv_heads=128, hidden=18432, head_width=192, tied=False,
        ),
        "671B",
        "DeepSeek-AI 2024 (arXiv 2412.19437), sections 1 and 4.2, and its config.json",
        14.8e12,
        printed_active="37B",
        experts=Experts(count=256, chosen=8, hidden=2048, shared=1, dense=3),
        latent=Latent(query=1536, memory=512, rotary=64, plain=128, value=128),
        gpu="H800", hours=2.664e6, hours_source="the same, table 1",
    ),
}  # fmt: skip


def tokens_per_parameter(model: Published) -> float:
    """How long a model was trained for its size; about 20 is Chinchilla's advice.

    Of a mixture all parameters count.

    >>> round(tokens_per_parameter(PUBLISHED["LLaMA-7B"]))
    148
    """
    if model.tokens is None:
        raise ValueError("Nothing was published about this model's tokens.")
    return model.tokens / model.count()
