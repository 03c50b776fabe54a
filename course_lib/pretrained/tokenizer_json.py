"""Our tokenizer in the form of the `tokenizers` library, which transformers loads.

`tokenizer_to_hf` writes the files that lie beside config.json and the weights in a
folder of Hugging Face's, the chat template among them. The ids are the same.
But there a special token is recognised in any text, even a user's, unless one
asks for `split_special_tokens=True`. Left out: the way back.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Fast

from course_lib.chat_format import CHAT_TEMPLATE
from course_lib.tokenizer import Tokenizer


def to_tokenizers(tokenizer: Tokenizer) -> Fast:
    """The same tokenizer as a `tokenizers.Tokenizer`, which transformers can load.

    >>> from course_lib.tokenizer import train_bpe
    >>> to_tokenizers(train_bpe(["low low"], 262)).encode("slow").tokens
    ['s', 'low']
    """
    content = tokenizer.as_strings()
    ids = {token: id for id, token in enumerate(content["tokens"])}
    fast = Fast(models.BPE(ids, [tuple(pair) for pair in content["merges"]]))
    cuts = [pre_tokenizers.Split(Regex(p), "isolated") for p in tokenizer.patterns]
    as_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([*cuts, as_letters])
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens([AddedToken(text) for text in tokenizer.specials])
    return fast


def tokenizer_to_hf(tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write what `AutoTokenizer` and `pipeline` need, into a folder of `to_hf`'s.

    With it `apply_chat_template` gives the ids of `Tokenizer.encode_chat`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<end>",
        "pad_token": "<pad>",
        "clean_up_tokenization_spaces": False,
    }
    to_tokenizers(tokenizer).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
