"""The same pairs in TRL: batch, losses, every gradient; KTO, ORPO and SimPO as well."""

import copy
import os
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from course_lib import pretrained
from course_lib.chat_format import CHAT_TEMPLATE
from course_lib.dpo.losses import dpo_loss, hinge_loss, ipo_loss, robust_loss
from course_lib.dpo.relatives import (
    kto_loss,
    kto_pair_loss,
    log_odds,
    orpo_loss,
    reference_point,
    simpo_loss,
)
from course_lib.dpo.sequences import (
    answer_logprobs,
    collate_answers,
    reference_logprobs,
)
from course_lib.dpo.trainer import preference_loss
from course_lib.pretrained.architectures import LLAMA, their_name
from course_lib.pretrained.tokenizer_json import to_tokenizers
from course_lib.reward.pairs import Preference, encode_preference

SAID = [
    Preference("Where is Ada's house?", "Of course! Ada lives in Garden Row.", "No."),
    Preference("What is Ben's job?", "Potter.", "Why ask me? Ben works as a cook."),
    Preference("What does Cleo do for fun?", "Cleo enjoys chess.", "Cleo has a goat."),
    Preference("Which pet belongs to Finn?", "Finn has a duck. All the best!", "Duck"),
]
BETA = 0.3


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A policy that has moved, its reference, both in transformers, and tokenizers."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    datasets.disable_progress_bars()
    reference, tokenizer = pretrained.load("sft")
    policy, draws = copy.deepcopy(reference), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=draws)
    theirs = []
    for name, model in (("policy", policy), ("reference", reference)):
        folder = tmp_path_factory.mktemp(name)
        pretrained.to_hf(model, folder)
        theirs.append(AutoModelForCausalLM.from_pretrained(folder))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=to_tokenizers(tokenizer), eos_token="<end>", pad_token="<pad>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return SimpleNamespace(
        policy=policy, reference=reference, tokenizer=tokenizer, fast=fast,
        their_policy=theirs[0], their_reference=theirs[1],
    )  # fmt: skip


def arguments(kind, folder, **settings):
    return kind(
        output_dir=str(folder), report_to="none", use_cpu=True, bf16=False,
        disable_tqdm=True, per_device_train_batch_size=4, beta=BETA, max_steps=1,
        gradient_checkpointing=False, **settings,
    )  # fmt: skip


def chat(preference, side):
    return {
        "prompt": [{"role": "user", "content": preference.prompt}],
        "completion": [{"role": "assistant", "content": getattr(preference, side)}],
    }


@pytest.fixture(scope="module")
def dpo_trainer(models, tmp_path_factory):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows = [
        {
            "prompt": chat(p, "chosen")["prompt"],
            "chosen": chat(p, "chosen")["completion"],
            "rejected": chat(p, "rejected")["completion"],
        }
        for p in SAID
    ]

    def make(loss_type, **settings):
        return DPOTrainer(
            model=copy.deepcopy(models.their_policy).train(),
            ref_model=models.their_reference,
            args=arguments(
                DPOConfig, tmp_path_factory.mktemp("dpo"), loss_type=loss_type,
                **settings,
            ),
            train_dataset=Dataset.from_list(rows), processing_class=models.fast,
        )  # fmt: skip

    return make


@pytest.fixture(scope="module")
def block(models):
    tokenizer = models.tokenizer
    pairs = [encode_preference(p, tokenizer) for p in SAID]
    ends = tokenizer.end, tokenizer.pad
    known = reference_logprobs(models.reference, pairs, *ends)
    return (*collate_answers(pairs, *ends), known)


def stacked(block):
    """Our (B, 2, T) in TRL's order: all chosen answers, then all rejected ones."""
    return block.transpose(0, 1).flatten(0, 1)


LOSSES = [  # TRL's name, its settings, ours
    (["sigmoid"], {}, {"loss": dpo_loss}),
    (["hinge"], {}, {"loss": hinge_loss}),
    (["ipo"], {}, {"loss": ipo_loss, "average": True}),
    (["sigmoid_norm"], {}, {"loss": dpo_loss, "average": True}),
    (["apo_zero"], {}, {"loss": kto_pair_loss}),
    (["robust"], {"label_smoothing": 0.2}, {"loss": partial(robust_loss, flip=0.2)}),
]


@pytest.mark.parametrize(
    ("loss_type", "settings", "ours"), LOSSES, ids=[each[0][0] for each in LOSSES]
)
def test_batch_loss_and_every_gradient_are_those_of_trl(
    models, dpo_trainer, block, loss_type, settings, ours
):
    trainer = dpo_trainer(loss_type, **settings)
    batch = trainer.data_collator([*trainer.train_dataset])
    ids, mask, _ = block
    assert batch["input_ids"].equal(stacked(ids))
    assert batch["completion_mask"].bool().equal(stacked(mask))
    loss = partial(ours["loss"], beta=BETA)
    mean, note = preference_loss(models.policy, *block, **(ours | {"loss": loss}))
    models.policy.zero_grad()
    mean.backward()
    their_loss = trainer.compute_loss(trainer.model, dict(batch))
    their_loss.backward()
    torch.testing.assert_close(mean, their_loss, rtol=1e-5, atol=1e-5)
    assert_same_gradients(models.policy, trainer.model)
    seen = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    scaled = {"chosen": "chosen_gain", "rejected": "rejected_gain", "margins": "gap"}
    for their_key, key in scaled.items():
        wanted = seen[f"rewards/{their_key}"]
        assert BETA * note[key] == pytest.approx(wanted, abs=1e-4)
    assert note["chosen_logprobs"] == pytest.approx(seen["logps/chosen"], rel=1e-5)
    assert note["rejected_logprobs"] == pytest.approx(seen["logps/rejected"], rel=1e-5)
    assert note["accuracy"] == seen["rewards/accuracies"]  # no ties here


def assert_same_gradients(ours, theirs):
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        gradient = wanted[their_name(name, LLAMA)].grad
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(
            parameter.grad, gradient, rtol=1e-4, atol=1e-5, msg=name
        )


def test_the_sft_term_is_trls_where_one_answer_decides(models, dpo_trainer, block):
    """TRL averages over the tokens of the batch, we over answers: one pair, one number."""
    trainer = dpo_trainer(["sigmoid", "sft"], loss_weights=[1.0, 0.5])
    batch = trainer.data_collator([trainer.train_dataset[0]])
    one = [tensor[:1, :, : batch["input_ids"].shape[1]] for tensor in block[:2]]
    loss = partial(dpo_loss, beta=BETA)
    with torch.no_grad():
        mean, _ = preference_loss(
            models.policy, *one, block[2][:1], loss=loss, sft_weight=0.5
        )
        wanted = trainer.compute_loss(trainer.model, dict(batch))
    torch.testing.assert_close(mean, wanted, rtol=1e-5, atol=1e-5)


def test_at_the_reference_a_tie_counts_half_with_us_and_nothing_in_trl(
    models, dpo_trainer, block
):
    trainer = dpo_trainer(["sigmoid"])
    trainer.model.load_state_dict(models.their_reference.state_dict())
    batch = trainer.data_collator([*trainer.train_dataset])
    with torch.no_grad():
        trainer.compute_loss(trainer.model, dict(batch))
        sums = answer_logprobs(
            models.reference, *(tensor.flatten(0, 1) for tensor in block[:2])
        )
        _, note = preference_loss(
            models.reference, *block[:2], sums.unflatten(0, (-1, 2))
        )
    assert trainer._metrics["train"]["rewards/accuracies"][-1] == 0
    assert note["accuracy"] == 0.5


# ---- KTO


def test_kto_and_its_reference_point_are_those_of_trl(models, tmp_path):
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    rows = [
        chat(p, side) | {"label": side == "chosen"}
        for p in SAID
        for side in ("chosen", "rejected")
    ]
    args = arguments(KTOConfig, tmp_path, undesirable_weight=1.2)
    args.per_device_train_batch_size = 8
    trainer = KTOTrainer(
        model=copy.deepcopy(models.their_policy).train(),
        ref_model=models.their_reference, args=args, train_dataset=Dataset.from_list(rows), processing_class=models.fast,
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    their_loss = trainer.compute_loss(trainer.model, dict(batch))
    their_loss.backward()
    known = {}
    for kind in ("", "KL_"):
        ids, mask = batch[f"{kind}input_ids"], batch[f"{kind}completion_mask"].bool()
        known[kind] = [
            answer_logprobs(model, ids, mask)
            for model in (models.policy, models.reference)
        ]
    point = reference_point(*known["KL_"])
    sums, ref_sums = known[""]
    good = torch.as_tensor(batch["label"], dtype=torch.bool)
    losses = kto_loss(sums, ref_sums.detach(), good, point, BETA, 1.0, 1.2)
    torch.testing.assert_close(losses.mean(), their_loss, rtol=1e-5, atol=1e-5)
    assert point.item() == pytest.approx(trainer._metrics["train"]["kl"][-1], abs=1e-3)
    models.policy.zero_grad()
    losses.mean().backward()
    assert_same_gradients(models.policy, trainer.model)


# ---- ORPO and SimPO, whose functions of TRL can be called by themselves

MEANS = [
    -3 * torch.rand(64, generator=torch.Generator().manual_seed(i)) - 1e-3
    for i in range(2)
]


def test_orpos_odds_term_is_that_of_trl():
    from trl.experimental.orpo import ORPOTrainer

    stub = SimpleNamespace(beta=0.1, accelerator=SimpleNamespace(device="cpu"))
    terms, _, _, _, mean_lead = ORPOTrainer.odds_ratio_loss(stub, *MEANS)
    torch.testing.assert_close(
        orpo_loss(*MEANS, weight=0.1) + MEANS[0], -terms, rtol=1e-4, atol=1e-6
    )
    lead = log_odds(MEANS[0]) - log_odds(MEANS[1])
    torch.testing.assert_close(lead.mean(), mean_lead, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_simpo_and_smoothed_labels_are_those_of_trl(smoothing):
    from trl.experimental.cpo import CPOTrainer

    stub = SimpleNamespace(
        loss_type="simpo", beta=2.0, simpo_gamma=0.5, label_smoothing=smoothing,
        alpha=0.0, accelerator=SimpleNamespace(device="cpu"),
    )  # fmt: skip
    if not smoothing:
        losses, *_ = CPOTrainer.cpo_loss(stub, *MEANS)
        found = simpo_loss(*MEANS, beta=2.0, margin=0.5)
        torch.testing.assert_close(found, losses, rtol=1e-6, atol=1e-7)
    stub.loss_type = "sigmoid"
    losses, *_ = CPOTrainer.cpo_loss(stub, *MEANS)
    zero = torch.zeros(64)
    found = dpo_loss(*MEANS, zero, zero, beta=2.0, smoothing=smoothing)
    torch.testing.assert_close(found, losses, rtol=1e-6, atol=1e-7)
