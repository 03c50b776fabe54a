"""A panel for sampling: move a control, see what may be drawn next, let the model write.

A model's scores of the next token do not depend on how one draws. So they are computed
once for each prompt, and a control that moves costs no more than a picture. The filters
are arguments: a lesson hands in what its learner has written, and what goes wrong there
is said in one sentence. Left out: penalties, stop strings, beams.
"""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from course_lib.plotting.sampling import next_tokens
from course_lib.plotting.style import Picture
from course_lib.pretrained.smollm2 import END
from course_lib.sampling import filters
from course_lib.sampling.filters import Filter, greedy, sampler
from course_lib.sampling.generate import generate
from course_lib.tokenizer import Tokenizer
from course_lib.widgets import controls

SHOWN = 12  # bars
TEXTS = 3  # written at one press of the button
Step = Callable[[Tensor, float], Tensor]  # scores and a setting to scores


# ---- who speaks


@dataclass(frozen=True)
class Speaker:
    """A model and its tokenizer, asked with plain text."""

    model: nn.Module
    tokenizer: Tokenizer

    @property
    def end(self) -> int:
        """The token that ends a text; of a tokenizer not ours, its chats' end."""
        own = self.tokenizer.end
        return self.tokenizer.specials[END] if own is None else own

    def ids(self, prompt: str) -> Tensor:
        """The prompt's tokens, (1, T); a ValueError says why it cannot be read."""
        ids, most = self.tokenizer.encode(prompt), self.model.config.context
        if not ids:
            raise ValueError("The prompt is empty: write at least one word.")
        if len(ids) > most:
            raise ValueError(
                f"The prompt has {len(ids):,} tokens,"
                f" this model reads at most {most:,}."
            )
        return torch.tensor([ids], device=self.model.embed.weight.device)

    @torch.inference_mode()
    def scores(self, prompt: str) -> Tensor:
        """The scores of the token that follows, (V,)."""
        hidden = self.model.hidden(self.ids(prompt))[:, -1]
        return self.model.head(hidden)[0].float().cpu()

    def write(
        self,
        prompt: str,
        filters: Iterable[Filter],
        new_tokens: int,
        seed: int,
        texts: int = 1,
    ) -> list[str]:
        """Several continuations of one prompt; an ellipsis where one was cut off."""
        ids = self.ids(prompt)
        room = self.model.config.context - ids.shape[1]
        if room < 1:
            raise ValueError("The prompt fills the model's context: shorten it.")
        luck = torch.Generator().manual_seed(seed)
        choose = sampler(*filters, generator=luck)
        asked = {"choose": choose, "samples": texts, "end": self.end, "pad": self.end}
        rows = generate(self.model, ids, min(new_tokens, room), **asked)
        return [self._told(row) for row in rows[:, ids.shape[1] :].tolist()]

    def _told(self, ids: list[int]) -> str:
        if self.end not in ids:
            return self.tokenizer.decode(ids) + "…"
        return self.tokenizer.decode(ids[: ids.index(self.end)])


# ---- what may be drawn


def chain(settings: Mapping[str, float], steps: Mapping[str, Step]) -> list[Filter]:
    """The filters that the settings ask for, temperature first, each under guard.

    settings: temperature, top_k, top_p, min_p. Temperature 0 is greedy, and then no
    other filter matters. A filter that would change nothing is left out.

    >>> steps = {"temperature": filters.temperature}
    >>> settings = {"temperature": 0.5, "top_k": 0, "top_p": 1.0, "min_p": 0}
    >>> [each(torch.tensor([1.0, 2.0])) for each in chain(settings, steps)]
    [tensor([2., 4.])]
    """
    if settings["temperature"] == 0:
        return [greedy]
    idle = {"top_k": 0, "top_p": 1, "min_p": 0}
    asked = {name: v for name, v in settings.items() if v != idle.get(name)}
    return [partial(guarded, name, steps[name], value) for name, value in asked.items()]


def guarded(name: str, step: Step, setting: float, logits: Tensor) -> Tensor:
    """step(logits, setting), or a ValueError that says in one sentence what it did.

    >>> guarded("half", lambda logits, _: logits[:1], 1, torch.zeros(2))
    Traceback (most recent call last):
    ValueError: half gave scores of shape (1,), not (2,).
    """
    try:
        changed = step(logits.clone(), setting)  # it may work in place
    except NotImplementedError:
        raise ValueError(f"{name} is not written yet.") from None
    except Exception as error:
        said = f"{name} stopped with {type(error).__name__}: {error}"
        raise ValueError(said.splitlines()[0]) from error
    if not isinstance(changed, Tensor):
        raise ValueError(f"{name} gave {type(changed).__name__}, not a tensor.")
    if changed.shape != logits.shape:
        shapes = tuple(changed.shape), tuple(logits.shape)
        raise ValueError(f"{name} gave scores of shape {shapes[0]}, not {shapes[1]}.")
    if changed.isnan().any() or (changed == math.inf).any():
        raise ValueError(f"{name} gave scores that are nan or plus infinity.")
    if changed.isneginf().all(dim=-1).any():
        raise ValueError(f"{name} left no token that may be drawn.")
    return changed


def bars(
    logits: Tensor, chosen: Iterable[Filter], tokenizer: Tokenizer, prompt: str
) -> Picture:
    """The likeliest tokens by their scores (V,), and what the filters make of them."""
    plain = logits.double().softmax(dim=-1)
    scores = logits.unsqueeze(0)  # (1, V), as `generate` gives them
    for each in chosen:
        scores = each(scores)
    now = scores[0].double().softmax(dim=-1)  # in float32 a cold token would be 0
    likely = plain.topk(min(SHOWN, len(plain))).indices
    return next_tokens(
        [tokenizer.piece(id) for id in likely.tolist()],
        plain[likely].tolist(),
        now[likely].tolist(),
        left=int((now > 0).sum()),
        entropy=float(torch.special.entr(now).sum()),
        prompt=prompt,
    )


# ---- the panel


class Panel:
    """The controls, the picture that follows them, and the texts behind the button."""

    def __init__(
        self,
        speakers: Mapping[str, Speaker],
        prompts: Sequence[str],
        steps: Mapping[str, Step],
    ):
        self.speakers, self.steps = dict(speakers), dict(steps)
        self.speaker = controls.choice([*self.speakers], "model")
        self.ready = controls.choice(prompts, "ready prompts")
        self.prompt = controls.line(prompts[0], "prompt")
        self.sliders = {
            "temperature": controls.slider(1, 0, 2, 0.05, "temperature (0: greedy)"),
            "top_k": controls.slider(0, 0, 50, 1, "top k (0: off)"),
            "top_p": controls.slider(0.9, 0.05, 1, 0.01, "top p (1: off)"),
            "min_p": controls.slider(0, 0, 0.5, 0.01, "min p (0: off)"),
        }
        self.length = controls.slider(30, 5, 100, 5, "tokens to write")
        self.button = widgets.Button(description="Write", button_style="primary")
        self.picture, self.texts = widgets.HTML(), widgets.HTML()
        self.known: dict[tuple[str, str], Tensor] = {}
        self.presses = 0
        self._connect()

    def _connect(self) -> None:
        for control in (self.speaker, self.prompt, *self.sliders.values()):
            control.observe(lambda _: self.redraw(), names="value")
        self.ready.observe(self._take, names="value")
        self.button.on_click(lambda _: self.write())

    def _take(self, change: dict) -> None:
        self.prompt.value = change["new"]

    # ---- what the controls say

    def scores(self) -> Tensor:
        """The scores after this prompt, computed when they are asked for first."""
        key = self.speaker.value, self.prompt.value
        if key not in self.known:
            self.known[key] = self.speakers[key[0]].scores(key[1])
        return self.known[key]

    def chosen(self) -> list[Filter]:
        settings = {name: slider.value for name, slider in self.sliders.items()}
        return chain({**settings, "top_k": int(settings["top_k"])}, self.steps)

    def drawing(self) -> Picture:
        """The picture of this moment; ValueError if there is none."""
        tokenizer = self.speakers[self.speaker.value].tokenizer
        return bars(self.scores(), self.chosen(), tokenizer, self.prompt.value)

    # ---- what happens

    def redraw(self) -> Picture | controls.Sentence:
        drawn = controls.attempt(self.drawing)
        self.picture.value = drawn.html()
        return drawn

    def write(self) -> None:
        """Let the model write, with a new seed at each press."""
        self.presses += 1
        self.button.disabled = True
        self.texts.value = "<i>writing …</i>"
        try:
            self.texts.value = self._written()
        except ValueError as error:
            self.texts.value = controls.Sentence(str(error)).html()
        finally:
            self.button.disabled = False

    def _written(self) -> str:
        prompt, length = self.prompt.value, int(self.length.value)
        is_greedy = self.sliders["temperature"].value == 0
        texts = self.speakers[self.speaker.value].write(
            prompt, self.chosen(), length, self.presses, 1 if is_greedy else TEXTS
        )
        luck = "greedy: there is one text" if is_greedy else f"seed {self.presses}"
        settings = ", ".join(f"{n} {s.value:g}" for n, s in self.sliders.items())
        head = f"{self.speaker.value}; {settings}; {luck}"
        items = "".join(_item(prompt, text) for text in texts)
        return f"<div><i>{html.escape(head)}</i><ol>{items}</ol></div>"

    def show(self) -> None:
        """Display the panel; where no kernel runs, its first picture."""
        first = self.redraw()
        above = controls.columns(self.speaker, self.ready, *self.sliders.values())
        writing = widgets.HBox([self.length, self.button])
        rows = [self.prompt, above, self.picture, writing, self.texts]
        controls.show_live(widgets.VBox(rows), *first._repr_mimebundle_())


def _item(prompt: str, text: str) -> str:
    """A text as a list item: the prompt in italics, line ends kept."""
    said = f"<i>{html.escape(prompt)}</i>{html.escape(text)}"
    return f'<li style="white-space: pre-wrap; line-height: 1.4">{said}</li>'


def sampling_panel(
    speakers: Mapping[str, Speaker],
    prompts: Sequence[str],
    *,
    temperature: Step = filters.temperature,
    top_k: Step = filters.top_k,
    top_p: Step = filters.top_p,
    min_p: Step = filters.min_p,
) -> None:
    """Show model, prompt, temperature, k, p and min-p above the next token's bars.

    The filters follow one another in the order of the arguments; each takes scores
    (1, V) and its setting. The button lets the model write with them.
    """
    if not speakers or not prompts:
        raise ValueError("The panel needs at least one speaker and one prompt.")
    steps = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    Panel(speakers, prompts, steps).show()
