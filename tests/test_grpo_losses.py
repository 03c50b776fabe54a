"""GRPO's loss and its relatives: on paper, by slow loops, by autograd, and TRL's on the same batch."""

import copy
import math
import os
from functools import partial

import pytest
import torch
from torch.nn import functional

from course_lib import exam, pretrained
from course_lib.grpo.advantages import group_advantages, leave_one_out
from course_lib.grpo.experience import answer_logprobs
from course_lib.grpo.losses import (
    cispo_loss,
    clipped_objective,
    dapo_weights,
    dr_grpo_weights,
    grpo_loss,
    grpo_weights,
    kl_penalty,
)
from course_lib.logprobs import k1, k2, k3, kl_divergence
from course_lib.ppo.losses import (
    clipped_policy_loss,
    policy_ratio,
    reinforce_loss,
)
from course_lib.pretrained.architectures import LLAMA, their_name
from course_lib.pretrained.tokenizer_json import tokenizer_to_hf
from course_lib.rollouts import sample_rollouts

ONE = torch.ones(1, 1, dtype=torch.bool)
WEIGHTS = {
    "grpo": grpo_weights,
    "dapo": dapo_weights,
    "dr_grpo": partial(dr_grpo_weights, new_tokens=9),
}
every_weight = pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
every_loss = pytest.mark.parametrize("loss_fn", [grpo_loss, cispo_loss])


def drawn(*shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draws, dtype=torch.float64)


def batch(seed=0, B=6, T=7):
    """Log-probabilities new, old and of a reference, advantages, a mask with a hole."""
    old = -drawn(B, T, seed=seed).abs()
    new = (old + 0.4 * drawn(B, T, seed=seed + 1)).requires_grad_()
    ref = old + 0.4 * drawn(B, T, seed=seed + 2)
    mask = torch.arange(T) < torch.tensor([7, 1, 4, 2, 6, 5])[:B, None]
    mask[0, 3] = False  # a token of a tool, say
    return new, old, ref, drawn(B, seed=seed + 3), mask


def close(left, right, **tolerance):
    torch.testing.assert_close(
        left, right, **({"rtol": 1e-6, "atol": 1e-9} | tolerance)
    )


def gradient(loss, leaf):
    return torch.autograd.grad(loss, leaf)[0]


# ---- the worked example, differentiated


def test_from_a_half_to_seven_tenths_the_right_answer_pushes_no_more():
    """Ratio 0.7 / 0.5 = 1.4 is held at 1.2: the value is 1.2 A, and the slope is 0."""
    advantage = group_advantages(torch.tensor([[1.0] * 4 + [0.0] * 4]))[0, :1]
    old = torch.tensor([[0.5]]).log()
    for now, value, slope in ((0.5, 1.0, 1.0), (0.595, 1.19, 1.19), (0.7, 1.2, 0.0)):
        new = torch.tensor([[now]]).log().requires_grad_()
        loss = grpo_loss(new, old, advantage, ONE)
        assert loss.item() == pytest.approx(-value * advantage.item())
        found = gradient(loss, new).item()
        assert found == pytest.approx(-slope * advantage.item(), abs=1e-6)


def test_at_the_first_step_the_value_is_0_and_the_gradient_is_not():
    _, old, _, _, mask = batch()
    leaf, advantages = old.clone().requires_grad_(), drawn(6, seed=9)
    loss = grpo_loss(leaf, old, advantages - advantages.mean(), mask)
    assert loss.item() == pytest.approx(0, abs=1e-7)  # weights are float32
    assert gradient(loss, leaf).abs().max() > 0.01


QUADRANTS = [  # ratio, advantage, objective, its gradient by log pi
    (1.8, 1.0, 1.2, 0.0),
    (1.8, -1.0, -1.8, -1.8),
    (0.4, 1.0, 0.4, 0.4),
    (0.4, -1.0, -0.8, 0.0),
]


@pytest.mark.parametrize(("ratio", "advantage", "objective", "slope"), QUADRANTS)
def test_the_four_quadrants_of_the_clip(ratio, advantage, objective, slope):
    new = torch.tensor([[ratio]]).log().requires_grad_()
    one = clipped_objective(new.exp(), torch.tensor([[advantage]]))
    assert one.item() == pytest.approx(objective)
    assert gradient(one, new).item() == pytest.approx(slope)


def test_a_higher_ceiling_lets_ratios_rise_further_and_leaves_the_floor():
    ratio = torch.tensor([1.25, 1.35, 0.7, 0.7])
    advantages = torch.tensor([1.0, 1.0, -1.0, 1.0])
    found = clipped_objective(ratio, advantages, clip_eps=0.2, clip_high=0.28)
    close(found, torch.tensor([1.25, 1.28, -0.8, 0.7]))


# ---- weights: what each does to length


def test_weights_on_paper():
    mask = torch.tensor([[True] * 4, [True] + [False] * 3])
    assert grpo_weights(mask).tolist() == [[0.125] * 4, [0.5, 0, 0, 0]]
    assert dapo_weights(mask).tolist() == [
        [pytest.approx(0.2)] * 4,
        [pytest.approx(0.2), 0, 0, 0],
    ]
    assert dr_grpo_weights(mask, 8).tolist() == [[0.0625] * 4, [0.0625, 0, 0, 0]]


@every_weight
def test_every_answers_tokens_share_one_weight_and_the_rest_has_none(weigh):
    *_, mask = batch()
    weights = weigh(mask)
    assert (weights[~mask] == 0).all()
    for row, kept in zip(weights, mask, strict=True):
        assert row[kept].unique().numel() == 1


def test_what_sums_to_what():
    *_, mask = batch()
    close(grpo_weights(mask).sum(1), torch.full((6,), 1 / 6))
    close(dapo_weights(mask).sum(), torch.tensor(1.0))
    lengths = mask.sum(1)
    close(dr_grpo_weights(mask, 9).sum(1), lengths / 54)


def pull(weigh, advantages):
    """The slope at each answer's first token: one of 5 tokens, one of 20."""
    mask = torch.arange(20) < torch.tensor([[5], [20]])
    leaf = torch.zeros(2, 20, requires_grad=True)
    loss = grpo_loss(leaf, leaf.detach(), advantages, mask, weigh(mask))
    return gradient(loss, leaf)[:, 0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_grpo_pulls_a_token_of_the_short_answer_four_times_as_hard(sign):
    advantages = torch.full((2,), sign)
    short, long = pull(grpo_weights, advantages).tolist()
    assert short / long == pytest.approx(4)
    assert math.copysign(1, -short) == sign  # downhill raises what is good
    for weigh in (dapo_weights, partial(dr_grpo_weights, new_tokens=20)):
        short, long = pull(weigh, advantages).tolist()
        assert short == pytest.approx(long)


def test_only_dr_grpos_pull_does_not_depend_on_the_other_answers_length():
    pulls = {}
    for name, weigh in WEIGHTS.items():
        pulls[name] = []
        for other in (2, 7):
            mask = torch.arange(7) < torch.tensor([[4], [other]])
            pulls[name].append(weigh(mask)[0, 0].item())
    assert pulls["grpo"][0] == pulls["grpo"][1]  # it depends on its own
    assert pulls["dapo"][0] > pulls["dapo"][1]
    assert pulls["dr_grpo"][0] == pulls["dr_grpo"][1]


# ---- the loss


def slowly(new, old, ref, advantages, mask, kind, eps, high, beta, corrected, L=9):
    """Answer by answer and token by token, as the papers write it; no tensors."""
    B, kept = len(mask), mask.sum().item()
    total = 0.0
    for i in range(B):
        of_answer, length = 0.0, mask[i].sum().item()
        for t in range(mask.shape[1]):
            if not mask[i, t]:
                continue
            p, q, r = (x[i, t].item() for x in (new, old, ref))
            a, ratio = advantages[i].item(), math.exp(p - q)
            if (a > 0 and ratio > 1 + high) or (a < 0 and ratio < 1 - eps):
                gain = (1 + high if a > 0 else 1 - eps) * a
            else:
                gain = ratio * a
            penalty = math.exp(r - p) - 1 - (r - p)
            of_answer += gain - beta * penalty * (ratio if corrected else 1)
        total += {"grpo": of_answer / length / B, "dapo": of_answer / kept,
                  "dr_grpo": of_answer / (B * L)}[kind]  # fmt: skip
    return -total


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize(
    ("beta", "corrected"), [(0.0, False), (0.3, False), (0.3, True)]
)
def test_a_loop_over_answers_and_tokens_agrees(kind, beta, corrected):
    for seed in range(3):
        new, old, ref, advantages, mask = batch(seed)
        loss = grpo_loss(
            new, old, advantages, mask, WEIGHTS[kind](mask), 0.2, clip_high=0.28,
            ref_logprobs=ref, kl_coef=beta, kl_correction=corrected,
        )  # fmt: skip
        expected = slowly(
            new, old, ref, advantages, mask, kind, 0.2, 0.28, beta, corrected
        )
        assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_without_weights_every_answer_counts_alike():
    new, old, _, advantages, mask = batch()
    close(
        grpo_loss(new, old, advantages, mask),
        grpo_loss(new, old, advantages, mask, grpo_weights(mask)),
    )


def test_with_tokens_alike_it_is_ppos_clipped_loss():
    new, old, _, advantages, mask = batch()
    each = advantages.unsqueeze(1).expand_as(new)
    ours = grpo_loss(new, old, advantages, mask, dapo_weights(mask), 0.3)
    theirs = clipped_policy_loss(new, old, each, mask, 0.3)
    close(ours, theirs)
    close(gradient(ours, new), gradient(theirs, new))


@every_loss
def test_at_ratio_1_its_gradient_is_that_of_reinforce_with_the_groups_mean(loss_fn):
    _, old, _, _, mask = batch()
    leaf = old.clone().requires_grad_()
    rewards = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]).double()
    free = group_advantages(rewards, scale=False).flatten()
    ours = gradient(loss_fn(leaf, old, free, mask, dapo_weights(mask)), leaf)
    others = leave_one_out(rewards).flatten().unsqueeze(1).expand_as(leaf)
    plain = gradient(reinforce_loss(leaf, others, mask), leaf)
    close(ours, 2 / 3 * plain)  # (G - 1) / G


@every_loss
@every_weight
def test_a_batch_in_pieces_and_without_silent_answers_is_the_same_batch(loss_fn, weigh):
    new, old, _, advantages, mask = batch()
    advantages[2:4] = 0.0  # a group whose rewards were equal
    weights = weigh(mask)
    whole = loss_fn(new, old, advantages, mask, weights, 0.2)
    total, slope = 0.0, torch.zeros_like(old)
    for rows in ([0], [1, 4], [5]):
        part = [x[rows] for x in (old, advantages, mask, weights)]
        loss = loss_fn(new[rows], *part, 0.2)
        total, slope = total + loss, slope + gradient(loss, new)
    close(total, whole)
    close(slope, gradient(whole, new))


@every_loss
def test_what_is_masked_has_no_influence_not_even_nan(loss_fn):
    new, old, ref, advantages, mask = batch()
    dirty = [torch.where(mask, x, torch.nan) for x in (new, old, ref)]
    loss = loss_fn(*dirty[:2], advantages, mask, ref_logprobs=dirty[2], kl_coef=0.1)
    clean = loss_fn(new, old, advantages, mask, ref_logprobs=ref, kl_coef=0.1)
    assert loss.equal(clean)


@every_loss
def test_no_gradient_flows_into_advantages_old_ones_or_the_reference(loss_fn):
    new, old, ref, advantages, mask = batch()
    for leaf in (old, ref, advantages):
        leaf.requires_grad_()
    loss_fn(
        new, old, advantages, mask, ref_logprobs=ref, kl_coef=0.1, kl_correction=True
    ).backward()
    assert old.grad is ref.grad is advantages.grad is None
    assert new.grad is not None


def test_cispo_silences_no_token_where_grpo_silences_some():
    new, old, _, _, mask = batch()
    praise = torch.ones(6).double()
    risen = mask & (new - old > math.log(1.2))
    assert risen.any()
    assert (gradient(grpo_loss(new, old, praise, mask), new)[risen] == 0).all()
    found = gradient(cispo_loss(new, old, praise, mask, clip_eps=0.2), new)
    close(found[risen], -dapo_weights(mask)[risen].double() * 1.2)


def test_one_ratio_for_a_whole_answer_is_soon_outside_of_any_clip():
    """Each token one per cent likelier: 200 tokens together are 7.3 times as likely."""
    each = torch.full((1, 200), math.log(1.01))
    assert each.sum().exp().item() == pytest.approx(7.3, abs=0.05)
    assert each[:, :19].sum().exp() > 1.2 > each[:, :18].sum().exp()
    loss = grpo_loss(each, torch.zeros(1, 200), torch.ones(1), each > 0)
    assert loss.item() == pytest.approx(-1.01, abs=1e-4)


# ---- the term that pulls back: what its slope is, exactly

POLICY, REF = drawn(5, seed=1), drawn(5, seed=2)


def expected_slope(penalty):
    """Of the mean penalty over every token, as often as the policy draws it."""
    logits = POLICY.clone().requires_grad_()
    logprobs, chances = logits.log_softmax(-1), POLICY.softmax(-1)
    return gradient((chances * penalty(logprobs, REF.log_softmax(-1))).sum(), logits)


def slope_of(divergence):
    logits = POLICY.clone().requires_grad_()
    return gradient(divergence(logits), logits)


def test_k3_as_a_loss_descends_the_divergence_of_the_reference_from_the_policy():
    forward = slope_of(lambda logits: kl_divergence(REF, logits))
    reverse = slope_of(lambda logits: kl_divergence(logits, REF))
    close(expected_slope(kl_penalty), forward)
    assert (forward - reverse).abs().max() > 0.05  # so this is no play on words
    value = (POLICY.softmax(-1) * k3(POLICY.log_softmax(-1), REF.log_softmax(-1))).sum()
    close(value, kl_divergence(POLICY, REF))  # and yet it estimates the other one


def test_k3_times_the_ratio_and_k2_descend_what_they_estimate():
    reverse = slope_of(lambda logits: kl_divergence(logits, REF))
    old = POLICY.log_softmax(-1)
    close(expected_slope(lambda p, r: kl_penalty(p, r, old)), reverse)
    close(expected_slope(k2), reverse)


def test_k1_on_answers_that_were_drawn_pulls_nowhere():
    close(expected_slope(k1), torch.zeros(5).double())


@pytest.mark.parametrize("corrected", [False, True])
def test_steps_down_the_loss_come_nearer_to_the_reference(corrected):
    logits, ref = POLICY.clone().requires_grad_(), REF.log_softmax(-1)
    silent, mask = torch.zeros(1), torch.ones(1, 5, dtype=torch.bool)
    apart = [kl_divergence(POLICY, REF).item()]
    for _ in range(30):
        logprobs = logits.log_softmax(-1)
        weights = logprobs.detach().exp()[None]  # every token, as often as it is drawn
        loss = grpo_loss(
            logprobs[None], logprobs.detach()[None], silent, mask, weights,
            ref_logprobs=ref[None], kl_coef=1.0, kl_correction=corrected,
        )  # fmt: skip
        logits = (logits - 0.5 * gradient(loss, logits)).detach().requires_grad_()
        apart.append(kl_divergence(logits, REF).item())
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.1 * apart[0]


# ---- the same batch in TRL


@pytest.fixture(scope="module")
def models():
    """The policy now, the one that drew, a reference: three different ones; the drawn answers."""
    old, tokenizer = pretrained.load("cold_start")
    new, ref = copy.deepcopy(old), copy.deepcopy(old)
    for model, seed in ((new, 1), (ref, 2)):
        noise = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in model.parameters():
                p += 0.01 * torch.randn(p.shape, generator=noise)
    questions = ["What is 2 + 2 × 6?", "3 × 4 + 5 − 1 = ?"]
    prompts = [exam.prompt_ids(question, tokenizer) for question in questions]
    rollout = sample_rollouts(
        old, prompts, 14, end=tokenizer.end, pad=tokenizer.pad, samples=4,
        generator=torch.Generator().manual_seed(17),
    )  # fmt: skip
    assert rollout.lengths.unique().numel() > 2  # so that normalisations differ
    with torch.no_grad():
        moved = policy_ratio(answer_logprobs(new, rollout), rollout.logprobs)
    assert (moved > 1.28).any()  # so that the clip holds something
    assert (moved < 0.8).any()
    return new, ref, tokenizer, rollout


@pytest.fixture(scope="module")
def trainer(models, tmp_path_factory):
    """TRL's GRPOTrainer with our weights in their model."""
    folder = tmp_path_factory.mktemp("policy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
        import datasets
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import GRPOConfig, GRPOTrainer

        datasets.disable_progress_bars()
        new, _, tokenizer, _ = models
        pretrained.to_hf(new, folder, tokenizer.end, tokenizer.pad)
        tokenizer_to_hf(tokenizer, folder)
        args = GRPOConfig(
            output_dir=str(folder / "out"), report_to="none", use_cpu=True, bf16=False,
            per_device_train_batch_size=8, num_generations=4, beta=0.05, temperature=1.0,
            max_completion_length=14, disable_tqdm=True,
        )  # fmt: skip
        asked = [{"prompt": [{"role": "user", "content": "2 + 2 = ?"}]}] * 4
        asked += [{"prompt": [{"role": "user", "content": "What is 3 × 4?"}]}] * 4
        made = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder), args=args,
            processing_class=AutoTokenizer.from_pretrained(folder),
            reward_funcs=lambda completions, **rest: made.given,
            train_dataset=datasets.Dataset.from_list(asked),
        )  # fmt: skip
        made.asked, made.given = asked, []
        made.current_gradient_accumulation_steps = 1
        yield made


KINDS = {  # TRL's name: our loss, our weights, their epsilon_high, ours above 1
    "grpo": (grpo_loss, grpo_weights, 0.28, {"clip_eps": 0.2, "clip_high": 0.28}),
    "bnpo": (grpo_loss, dapo_weights, 0.28, {"clip_eps": 0.2, "clip_high": 0.28}),
    "dapo": (grpo_loss, dapo_weights, 0.28, {"clip_eps": 0.2, "clip_high": 0.28}),
    "dr_grpo": (
        grpo_loss,
        partial(dr_grpo_weights, new_tokens=14),
        0.28,
        {"clip_eps": 0.2, "clip_high": 0.28},
    ),
    "cispo": (cispo_loss, dapo_weights, 1.1, {"clip_eps": 0.1}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("beta", "corrected"), [(0.0, True), (0.5, False), (0.5, True)]
)
def test_loss_and_every_gradient_are_those_of_trl(
    trainer, models, kind, beta, corrected
):
    new, ref, _, rollout = models
    loss_fn, weigh, high, clip = KINDS[kind]
    mask = rollout.response_mask
    rewards = torch.tensor([[1.0, 0.0, 0.5, 0.0], [1.0, 1.0, 0.0, 1.0]])
    advantages = group_advantages(rewards).flatten()
    with torch.no_grad():
        ref_logprobs = answer_logprobs(ref, rollout)
    new.zero_grad()
    ours = loss_fn(
        answer_logprobs(new, rollout), rollout.logprobs, advantages, mask, weigh(mask),
        ref_logprobs=ref_logprobs, kl_coef=beta, kl_correction=corrected, **clip,
    )  # fmt: skip
    ours.backward()

    trainer.loss_type, trainer.beta, trainer.epsilon_high = kind, beta, high
    trainer.args.use_bias_correction_kl = corrected
    trainer.model.train()
    trainer.model.zero_grad()
    start = rollout.start
    theirs = trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": rollout.ids[:, :start],
            "prompt_mask": rollout.mask[:, :start].int(),
            "completion_ids": rollout.responses,
            "completion_mask": mask.int(),
            "advantages": advantages,
            "old_per_token_logps": rollout.logprobs,
            "ref_per_token_logps": ref_logprobs,
            "num_items_in_batch": mask.sum(),
        },
    )
    theirs.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    found = dict(trainer.model.named_parameters())
    for name, p in new.named_parameters():
        their = found[their_name(name, LLAMA)].grad
        scale = their.abs().max().item()
        torch.testing.assert_close(p.grad, their, rtol=1e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("scale", ["group", "none"])
def test_advantages_are_those_of_trl(trainer, scale):
    rewards = [[1.0, 0.0, 0.25, 0.0], [0.5, 0.5, 0.5, 0.5]]
    trainer.given, trainer.scale_rewards = rewards[0] + rewards[1], scale
    scored = trainer._generate_and_score_completions(trainer.asked)
    ours = group_advantages(torch.tensor(rewards), scale=scale == "group")
    torch.testing.assert_close(
        ours.flatten(), scored["advantages"], rtol=1e-6, atol=1e-7
    )


# ---- what cannot be


@every_loss
def test_what_does_not_belong_together_is_refused_in_a_sentence(loss_fn):
    new, old, _, advantages, mask = batch()
    with pytest.raises(ValueError, match=r"6 answers, advantages of shape \(6, 7\)"):
        loss_fn(new, old, old, mask)
    with pytest.raises(ValueError, match="old and mask"):
        loss_fn(new, old[:, :1], advantages, mask)
    with pytest.raises(ValueError, match="needs ref_logprobs"):
        loss_fn(new, old, advantages, mask, kl_coef=0.1)
    mask[4] = False
    for fails in (loss_fn, lambda *given: grpo_weights(given[-1])):
        with pytest.raises(ValueError, match="Response 4 has no token"):
            fails(new, old, advantages, mask)


def test_k3_is_cross_checked_with_torchs_own_divergence():
    logs, refs = POLICY.log_softmax(-1), REF.log_softmax(-1)
    mean = (logs.exp() * kl_penalty(logs, refs)).sum()
    close(mean, functional.kl_div(refs, logs, log_target=True, reduction="sum"))
