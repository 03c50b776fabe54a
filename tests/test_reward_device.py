"""A reward model that is not on the CPU, and a climb by it, also where there is no GPU.

The stand-in for a device calls itself "meta", keeps its numbers on the CPU and refuses, like a GPU, whatever
would mix both. Left out: precision, speed and memory of a real one.
"""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from course_lib import pretrained
from course_lib.exam import prompt_ids
from course_lib.reward.climbing import hill_climb, in_context, neighbours
from course_lib.reward.model import RewardModel, last_index, pair_scores, rewards_of
from course_lib.reward.pairs import Preference
from tests.tiny import transformer

AWAY, HOME = torch.device("meta"), torch.device("cpu")
aten = torch.ops.aten
MIX = {  # a GPU does these with a tensor of the CPU: it is copied, or says where
    aten._to_copy.default, aten.copy_.default, aten.index.Tensor,
    aten.index_put_.default, aten._index_put_impl_.default,
}  # fmt: skip
IDS = torch.randint(7, (5, 9), generator=torch.Generator().manual_seed(4))


class Far(torch.Tensor):
    """A tensor on the other device; `near` has its numbers."""

    @staticmethod
    def __new__(cls, near):
        made = torch.Tensor._make_wrapper_subclass(
            cls, near.shape, near.stride(), dtype=near.dtype, device=AWAY
        )
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """While this holds, what is made on the device or sent to it is Far."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def compute(func, args, kwargs):
    """Do with the numbers what is asked, unless a GPU would refuse."""
    given = tree_leaves((args, kwargs))
    away = any(isinstance(each, Far) for each in given)
    refuse(func, given, away and func not in MIX)
    if kwargs.get("device") is not None:
        away = torch.device(kwargs["device"]) == AWAY
        kwargs = kwargs | {"device": HOME}
    args, kwargs = tree_map_only(Far, lambda far: far.near, (args, kwargs))
    found = func(*args, **kwargs)
    return tree_map_only(torch.Tensor, Far, found) if away else found


def refuse(func, given, together):
    """Two devices where all has to be together; and what the stand-in cannot do."""
    behind = [each for each in given if together and stays_behind(each)]
    assert not behind, f"{func} on two devices: {behind}"
    empty = [each for each in given if type(each) is torch.Tensor and each.is_meta]
    assert not empty, f"{func}: made without numbers, index by a tensor instead"


def stays_behind(each):
    """A generator or a tensor of the CPU; a single number may come along."""
    tensor = isinstance(each, torch.Tensor) and not isinstance(each, Far)
    return (tensor and each.ndim > 0) or isinstance(each, torch.Generator)


def same(one, other):
    """Other kernels add in another order, so the last digits may differ."""
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.fixture
def elsewhere():
    with torch.no_grad(), Elsewhere():
        yield


@pytest.fixture(scope="module")
def shipped():
    """The chat model with a head that was not trained, and the tokenizer."""
    body, tokenizer = pretrained.load("sft")
    return RewardModel(body, torch.Generator().manual_seed(0)).eval(), tokenizer


def moved(model):
    return copy.deepcopy(model).to(AWAY)


# ---- the stand-in


def test_the_stand_in_refuses_what_a_gpu_refuses(elsewhere):
    far = IDS.to(AWAY)
    assert (far + 1).cpu().equal(IDS + 1)
    assert far[torch.tensor([1, 0])].cpu().equal(IDS[[1, 0]])
    with pytest.raises(AssertionError, match="two devices"):
        far + IDS
    with pytest.raises(AssertionError, match="two devices"):
        torch.cat([far, IDS])
    with pytest.raises(AssertionError, match="two devices"):
        far.float().normal_(generator=torch.Generator())


# ---- the model


def test_a_reward_is_the_same_on_another_device(elsewhere):
    model = RewardModel(transformer(), torch.Generator().manual_seed(0)).eval()
    mask = torch.ones_like(IDS).bool()
    mask[:2, 6:] = False
    away = moved(model)(IDS.to(AWAY), mask.to(AWAY))
    assert away.device == AWAY
    same(away.cpu(), model(IDS, mask))
    same(moved(model)(IDS.to(AWAY)).cpu(), model(IDS))
    assert last_index(mask.to(AWAY)).device == AWAY


def test_the_head_is_made_where_the_body_is_with_the_numbers_of_its_seed(elsewhere):
    body = transformer()
    heads = [
        RewardModel(each, torch.Generator().manual_seed(3)).head.weight
        for each in (body, moved(body))
    ]
    assert heads[1].device == AWAY
    assert heads[1].cpu().equal(heads[0])


def test_texts_are_scored_where_the_weights_are_and_rewards_come_back(
    elsewhere, shipped
):
    model, spoken = shipped
    said = [Preference("What is Ada's pet?", "Ada has a fish.", "Go away.")]
    chats = [(p.prompt, text) for p in said for text in p[1:3]]
    found = rewards_of(moved(model), spoken, chats)
    assert found.device == HOME
    same(found, rewards_of(model, spoken, chats))
    both = pair_scores(moved(model), spoken, said)
    assert torch.cat(both).equal(found)


# ---- climbing


def test_a_climb_goes_the_same_way_on_another_device(elsewhere, shipped):
    model, spoken = shipped
    asked, start = prompt_ids("What is Ada's pet?", spoken), spoken.encode("Go away.")
    climbs = []
    for each in (model, moved(model)):
        score, luck = in_context(each, asked, spoken.end), torch.Generator()
        climbs.append(
            hill_climb(score, start, range(300, 400), 3, 8, luck.manual_seed(1))
        )
    assert climbs[0].ids == climbs[1].ids
    same(*(torch.tensor(climb.rewards) for climb in climbs))
    assert climbs[0].rewards[-1] > climbs[0].rewards[0]


def test_neighbours_are_where_the_answer_is(elsewhere):
    answer, tokens = torch.tensor([1, 1, 1]), torch.tensor([5, 6])
    luck = [torch.Generator().manual_seed(0) for _ in "ab"]
    near = neighbours(answer, tokens, 20, luck[0])
    far = neighbours(answer.to(AWAY), tokens.to(AWAY), 20, luck[1])
    assert far.device == AWAY
    assert far.cpu().equal(near)
