"""One step downhill: rates against two libraries, clipping against torch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from course_lib.descent import clip_gradients, cosine_learning_rate, learning_rate
from course_lib.training import accumulate_gradients, next_token_loss
from tests.tiny import Pairs, gradients, unequal_batch

# ---- learning rates


def torchs_rates(scheduler, steps, peak=0.3):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    schedule, rates = scheduler(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_warm_up_and_decay_are_torchs_linear_schedules():
    ours = [learning_rate(step, 100, 0.3, warm_up=10) for step in range(100)]
    up = torchs_rates(
        lambda o: LinearLR(o, start_factor=0.1, end_factor=1, total_iters=9), 50
    )
    down = torchs_rates(
        lambda o: LinearLR(o, start_factor=1, end_factor=0.02, total_iters=49), 50
    )
    assert ours == pytest.approx(up + down, rel=1e-9)


def test_the_cosine_is_torchs_and_transformers():
    from transformers import get_cosine_schedule_with_warmup  # seconds to import

    ours = [cosine_learning_rate(step, 80, 0.3, warm_up=0, floor=0.1) for step in range(80)]  # fmt: skip
    torchs = torchs_rates(lambda o: CosineAnnealingLR(o, 80, eta_min=0.03), 80)
    assert ours == pytest.approx(torchs, rel=1e-6)
    ours = [cosine_learning_rate(step, 80, 0.3, warm_up=10) for step in range(80)]
    theirs = torchs_rates(lambda o: get_cosine_schedule_with_warmup(o, 10, 80), 80)
    assert ours[10:] == pytest.approx(theirs[10:], rel=1e-6)
    assert ours[:9] == pytest.approx(theirs[1:10], rel=1e-6)  # theirs wastes step 0


@settings(max_examples=100, deadline=None)
@given(total=st.integers(1, 300), warm_up=st.integers(0, 50), decay=st.floats(0.0, 1.0))
def test_rates_rise_to_the_peak_and_fall_and_no_step_is_without_learning(
    total, warm_up, decay
):
    up = max(1, warm_up)
    room = {"line": total - up + 1 >= decay * total, "cosine": warm_up <= total}
    rates = {
        "line": [learning_rate(s, total, 2.0, warm_up, decay) for s in range(total)],
        "cosine": [cosine_learning_rate(s, total, 2.0, warm_up) for s in range(total)],
    }
    for name, values in rates.items():
        top = values.index(max(values))
        assert values[: top + 1] == sorted(values[: top + 1])
        assert values[top:] == sorted(values[top:], reverse=True)
        assert 0 < min(values) <= max(values) <= 2.0
        assert max(values) == 2.0 or not room[name]


# ---- clipping


@pytest.mark.parametrize("limit", [0.01, 1.0, 1e6])
def test_clipping_is_torchs(limit):
    ours, theirs = Pairs(), Pairs()
    for model in (ours, theirs):
        accumulate_gradients(model, unequal_batch(), next_token_loss)
    before = gradients(ours)
    length = clip_gradients(ours.parameters(), limit)
    torch.testing.assert_close(
        length, nn.utils.clip_grad_norm_(theirs.parameters(), limit)
    )
    # torch divides by length + 1e-6, we by the length
    torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=1e-5, atol=1e-9)
    assert length == pytest.approx(before.norm().item())
    cosine = torch.cosine_similarity(gradients(ours), before, dim=0)
    assert cosine == pytest.approx(1, abs=1e-6)


def test_a_gradient_of_zero_is_left_alone_and_a_parameter_without_one_too():
    zero, none = (nn.Parameter(torch.ones(2)) for _ in range(2))
    zero.grad = torch.zeros(2)
    assert clip_gradients([zero, none], 1.0) == 0
    assert zero.grad.tolist() == [0, 0]
    assert none.grad is None
