"""A whole step of DPO, from pairs to new weights, against the DPOTrainer of TRL.

Same model, same reference, same pairs in the same rows, the same AdamW and the same clipping; the reference reads
every batch anew on both sides. (Ours can have it read all pairs once, beforehand, and TRL's can as well.) Theirs is
driven as its own loop does it: `training_step`, clipping, `optimizer.step`; so the loop around them is left out, in
their favour. Both put the rows together in the step. Pairs are the town's: one fact told kindly, and rudely, plainly or wrongly.
A first step is taken before anything is compared, so policy and reference differ.
"""

import copy
import os
import random
from collections.abc import Sequence
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from course_lib.descent import adamw, clip_gradients
from course_lib.dpo.sequences import collate_answers, pair_logprobs
from course_lib.dpo.trainer import preference_loss
from course_lib.pretrained import checkpoints
from course_lib.pretrained.tokenizer_json import tokenizer_to_hf
from course_lib.reward.pairs import Preference, encode_preference
from course_lib.world import people
from course_lib.world.preferences import fact_questions, variants
from tools.bench.harness import Claim, Side
from tools.bench.twins import COURSE, MIDDLE, in_our_order, shape, twins

RATE = 1e-5
CLIP = 0.1  # shorter than these gradients, so that clipping is compared too


def prepare(seed: int, model: str, V: int, B: int) -> tuple[Side, Side]:
    """B pairs, both answers of each; V at least the tokenizer's."""
    guide, tokenizer = checkpoints.load("sft")
    draw = torch.Generator().manual_seed(seed)
    ours, theirs = twins(shape(model, max(V, len(tokenizer))), draw)
    if model == COURSE:
        ours.load_state_dict(guide.state_dict())
        for mine, its in zip(
            ours.parameters(), in_our_order(ours, theirs), strict=True
        ):
            its.data.copy_(mine.data)
    ours.eval()
    reference, optimizer = copy.deepcopy(ours), adamw(ours, weight_decay=0.0)
    told = written(B, seed)
    pairs = [encode_preference(preference, tokenizer) for preference in told]
    for group in optimizer.param_groups:
        group["lr"] = RATE

    def our_step() -> tuple[Tensor, ...]:
        ids, mask = collate_answers(pairs, tokenizer.end, tokenizer.pad)
        with torch.no_grad():
            known = pair_logprobs(reference, ids, mask)
        loss, _ = preference_loss(ours, ids, mask, known)
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(ours.parameters(), CLIP)
        optimizer.step()
        return loss.detach(), *(weights.grad for weights in ours.parameters())

    step, twin_of = in_trl(theirs, tokenizer, told), in_our_order(ours, theirs)

    def their_step() -> tuple[Tensor, ...]:
        return step(), *(weights.grad for weights in twin_of)

    our_step()
    their_step()
    return our_step, their_step


def written(B: int, seed: int) -> list[Preference]:
    """A polite answer, preferred to a rude, a wrong or a plain one to the same question."""
    draw, town = random.Random(seed), fact_questions(people.town())
    pairs = []
    for question in draw.sample(town, B):
        told = variants(question, draw)
        worse = told[draw.choice(("rude", "wrong", "plain"))]
        pairs.append(Preference(question.text, told["polite"], worse))
    return pairs


def in_trl(model: LlamaForCausalLM, tokenizer, told: Sequence[Preference]):
    """One step of TRL's trainer on these pairs, as a function."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    datasets.disable_progress_bars()

    def message(role: str, text: str) -> list[dict]:
        return [{"role": role, "content": text}]

    rows = [
        {
            "prompt": message("user", pair.prompt),
            "chosen": message("assistant", pair.chosen),
            "rejected": message("assistant", pair.rejected),
        }
        for pair in told
    ]
    with TemporaryDirectory() as folder:
        tokenizer_to_hf(tokenizer, folder)
        args = DPOConfig(
            output_dir=folder, report_to="none", use_cpu=True, bf16=False,
            disable_tqdm=True, gradient_checkpointing=False, beta=0.1,
            per_device_train_batch_size=len(rows), learning_rate=RATE, adam_beta1=0.9,
            adam_beta2=0.95, weight_decay=0.0, max_grad_norm=CLIP,
            optim="adamw_torch_fused",
        )  # fmt: skip
        trainer = DPOTrainer(
            model=model, ref_model=copy.deepcopy(model).eval(), args=args,
            processing_class=AutoTokenizer.from_pretrained(folder),
            train_dataset=datasets.Dataset.from_list(rows),
        )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    optimizer, examples = trainer.create_optimizer(), [*trainer.train_dataset]

    def step() -> Tensor:
        model.zero_grad()
        loss = trainer.training_step(model, trainer.data_collator(examples), None)
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return loss.detach()

    return step


CLAIM = Claim(
    name="dpo",
    sentence="A step of DPO, its reference pass included, takes at most 1/1.1 of the time of TRL's DPOTrainer on the same pairs.",
    faster=True,
    sizes=tuple({"model": model, "V": 768, "B": 32} for model in (COURSE, MIDDLE)),
    prepare=prepare,
    atol=1e-6,  # the largest clipped gradients are 0.004 and more
    limits=(1 / 1.1,) * 2,
    pairs=4,
)
