"""The published update makes the mistakes that lesson 07 says it makes, and runs."""

import ast
from pathlib import Path

import pytest
import torch

from course_lib.logprobs import response_logprobs
from course_lib.ppo import clinic
from course_lib.ppo.clinic import Answers, published_logprobs, published_loss
from tools.inline import ROOT


def a_batch(B=4, start=3, T=5, V=11):
    """Logits with gradient, and answers of unequal lengths."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(B, start + T, V, generator=draw, requires_grad=True)
    ids = torch.randint(V, (B, start + T), generator=draw)
    mask = torch.arange(T) < torch.tensor([5, 3, 1, 4]).unsqueeze(1)
    old, ref, values = torch.randn(3, B, T, generator=draw).unbind()
    rewards = torch.tensor([1.0, -1.0, 0.5, 2.0])
    return logits, Answers(ids, start, mask, old, ref, values, rewards)


def gradient(logits, batch, **settings):
    return torch.autograd.grad(published_loss(logits, batch, **settings), logits)[0]


def as_published(logits, batch):
    """The batch with old log-probabilities in the notes' own reading: ratios are 1."""
    old = published_logprobs(logits, batch.ids, batch.start).detach()
    return batch._replace(old_logprobs=old.unsqueeze(1).expand(batch.mask.shape))


def test_it_reads_every_token_at_every_one_of_the_first_places():
    logits, batch = a_batch()
    logs, T = logits.log_softmax(dim=-1), batch.mask.shape[1]
    for b, said in enumerate(batch.ids[:, batch.start :].tolist()):
        table = [logs[b, place, token] for place in range(T) for token in said]
        found = published_logprobs(logits, batch.ids, batch.start)[b]
        assert found.item() == pytest.approx(sum(table).item() / T**2, rel=1e-5)
    right = response_logprobs(logits, batch.ids, batch.start).mean(dim=1)
    assert (found - right[-1]).abs() > 0.01


def test_its_penalty_has_the_same_gradient_for_every_reference():
    logits, batch = a_batch()
    batch = as_published(logits, batch)
    other = batch._replace(ref_logprobs=batch.ref_logprobs + torch.randn(4, 5))
    assert torch.equal(gradient(logits, batch), gradient(logits, other))
    assert not torch.equal(gradient(logits, batch), gradient(logits, batch, kl_coef=0))


def test_values_and_mask_make_no_difference_to_it():
    logits, batch = a_batch()
    other = batch._replace(values=batch.values + 1, mask=~batch.mask)
    assert published_loss(logits, batch) == published_loss(logits, other)


def test_its_clip_stops_a_bad_answer_that_became_likelier():
    """With the minimum it would be called back with full force."""
    logits, batch = a_batch()
    likelier = as_published(logits, batch)
    likelier = likelier._replace(old_logprobs=likelier.old_logprobs - 1)
    assert gradient(logits, likelier, kl_coef=0).abs().max() == 0


# ---- the lesson shows this very text


def bodies(path):
    """Name to code of each function, without docstrings and types."""
    return {
        node.name: [
            ast.dump(line)
            for line in node.body
            if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        ]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("name", ["published_logprobs", "published_loss"])
def test_the_lesson_prints_what_the_module_runs(name):
    shown = bodies(ROOT / "lessons" / "07_ppo.py")
    assert shown[name] == bodies(Path(clinic.__file__))[name]
