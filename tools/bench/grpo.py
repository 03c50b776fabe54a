"""A whole step of GRPO, from questions to new weights, against the GRPOTrainer of TRL.

Same model, same questions, G answers to each, one update for each batch, GRPO's own loss without a reference,
the same AdamW and the same clipping. Theirs is driven as its own loop does it: `training_step` (which draws,
rewards and reads again), clipping, `optimizer.step`; so the loop around them is left out, in their favour. Both
decode every answer, for a reward reads text.

What is drawn cannot be compared, since the two draw differently. So at the first step theirs is given our
answers: loss and every clipped gradient must agree, and nothing is timed before. (That ours draws from the right
distribution is held by tests/test_rollouts.py.) From then on each draws its own.

In the first two rows both do the same work: no answer ends early and all groups differ. In the third every
second group has equal rewards, and ours leaves it out. In the last the course's pupil of lesson 08 answers, and
its answers end where they end.
"""

import os
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from course_lib.exam import prompt_ids
from course_lib.grpo.rewards import correctness
from course_lib.grpo.trainer import Settings, adamw_without_decay, train_grpo
from course_lib.pretrained import checkpoints
from course_lib.pretrained.tokenizer_json import tokenizer_to_hf
from course_lib.rollouts import Rollout
from course_lib.world.arithmetic import TRIPLE
from course_lib.world.corpus import training_problems
from tools.bench.harness import Claim, Side
from tools.bench.twins import COURSE, SHAPES, in_our_order, shape, twins

RATE = 1e-5  # so low that the model stays what it is while it is timed
CLIP = 0.1  # shorter than these gradients, so that clipping is compared too
HARD = training_problems(TRIPLE)
LONG, SILENT, OWN = "all long", "all long, half of the groups equal", "the pupil's own"


def prepare(
    seed: int, model: str, V: int, B: int, G: int, new: int, answers: str, cache: str
) -> tuple[Side, Side]:
    """B questions, G answers of at most `new` tokens to each; V at least the tokenizer's."""
    draw = torch.Generator().manual_seed(seed)
    pupil, tokenizer = checkpoints.load("cold_start")
    V = max(V, len(tokenizer))
    ours, theirs = twins(shape(model, V), draw)
    if answers == OWN:
        ours.load_state_dict(pupil.state_dict())
        for mine, its in zip(
            ours.parameters(), in_our_order(ours, theirs), strict=True
        ):
            its.data.copy_(mine.data)
    picked = torch.randint(len(HARD), (B,), generator=draw).tolist()
    asked = [HARD[i] for i in picked]
    end = tokenizer.end if answers == OWN else V  # no token has that number
    settings = Settings(end, tokenizer.pad, new, samples=G, lr=RATE, max_norm=CLIP)
    given = by_place(B, G, silent=answers == SILENT)

    def rewards(texts: Sequence[str]) -> list[float]:
        if answers != OWN:
            return given
        return [correctness(asked[i // G], text) for i, text in enumerate(texts)]

    said: list[Rollout] = []  # ours, for theirs to read at the first step

    def our_reward(rollout: Rollout, facts: None) -> list[float]:
        said[:] = [rollout]
        return rewards(rollout.texts(tokenizer))

    def batches(step: int) -> tuple[list[list[int]], None]:
        return [prompt_ids(f"What is {p}?", tokenizer) for p in asked], None

    optimizer = adamw_without_decay(ours, RATE)

    def our_step() -> tuple[Tensor, ...]:
        history = train_grpo(
            ours, batches, our_reward, 1, settings, optimizer=optimizer,
            generator=draw, progress=False,
        )  # fmt: skip
        loss = torch.tensor(history["loss"][-1])
        return loss, *(weights.grad for weights in ours.parameters())

    their_step = in_trl(theirs, tokenizer, asked, rewards, settings, cache, said)
    twin_of = in_our_order(ours, theirs)
    return our_step, lambda: (their_step(), *(weights.grad for weights in twin_of))


def by_place(B: int, G: int, silent: bool) -> list[float]:
    """Rewards that differ within each group, or only within every second one."""
    return [
        float(place % 2) if not silent or group % 2 else 0.5
        for group in range(B)
        for place in range(G)
    ]


def in_trl(
    model: LlamaForCausalLM, tokenizer, asked: Sequence, rewards: Callable,
    settings: Settings, cache: str, said: list[Rollout],
) -> Callable[[], Tensor]:  # fmt: skip
    """One step of TRL's trainer; the first reads what stands in `said`."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    datasets.disable_progress_bars()
    batch = [
        {"prompt": [{"role": "user", "content": f"What is {p}?"}]}
        for p in asked
        for _ in range(settings.samples)
    ]

    def their_reward(completions: list, **rest) -> list[float]:
        return rewards([message["content"] for (message,) in completions])

    with TemporaryDirectory() as folder:
        tokenizer_to_hf(tokenizer, folder)
        args = GRPOConfig(
            output_dir=folder, report_to="none", use_cpu=True, bf16=False,
            disable_tqdm=True, gradient_checkpointing=False, temperature=1.0,
            per_device_train_batch_size=len(batch), num_generations=settings.samples,
            max_completion_length=settings.new_tokens, loss_type="grpo", beta=0.0,
            learning_rate=RATE, adam_beta1=0.9, adam_beta2=0.95, weight_decay=0.0,
            max_grad_norm=settings.max_norm, optim="adamw_torch_fused",
            cache_implementation=None if cache == "its own" else cache,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=model, args=args, reward_funcs=their_reward,
            processing_class=AutoTokenizer.from_pretrained(folder),
            train_dataset=datasets.Dataset.from_list(batch),
        )  # fmt: skip
    trainer.eos_token_ids = [settings.end]
    trainer.generation_config.eos_token_id = [settings.end]
    trainer.generation_kwargs["eos_token_id"] = [settings.end]
    trainer.current_gradient_accumulation_steps = 1
    optimizer = trainer.create_optimizer()
    draws = [lambda **inputs: given_text(said[0], **inputs)]  # once

    def step() -> Tensor:
        model.zero_grad()
        if draws:
            model.generate = draws.pop()
        loss = trainer.training_step(model, batch, None)
        vars(model).pop("generate", None)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
        optimizer.step()
        return loss.detach()

    return step


def given_text(rollout: Rollout, input_ids: Tensor, **rest) -> Tensor:
    """Our answers, as if theirs had drawn them: the questions must be the same."""
    asked = rollout.ids[:, : rollout.start]
    assert torch.equal(asked, input_ids), "the two read different questions"
    return rollout.ids


CLAIM = Claim(
    name="grpo",
    sentence="A step of GRPO takes at most 1/1.2 of the time of TRL's GRPOTrainer on the same work, drawing included, and no more of it where groups say nothing or answers end early.",
    faster=True,
    sizes=tuple(
        {
            "model": COURSE,
            "V": SHAPES[COURSE].vocabulary,
            "B": 16,
            "G": 8,
            "new": 40,
            "answers": answers,
            "cache": cache,
        }
        for answers, cache in (
            (LONG, "its own"),
            (LONG, "static"),
            (SILENT, "its own"),
            (OWN, "its own"),
        )
    ),
    prepare=prepare,
    atol=1e-6,  # the largest gradients are 0.002 and more
    limits=(1 / 1.2,) * 4,
    pairs=4,
)
