"""What this machine is, and how long a lesson may take on it.

Two time profiles: *full* is what a learner runs; *quick* shortens every training cell
to seconds and leaves the claims about learning unasserted, while all graded results
stay the same. The environment variable COURSE_PROFILE chooses (full unless it says
quick).
"""

import json
import os
import random
from importlib import resources

import torch

PROFILES = ("full", "quick")


def profile() -> str:
    """'full' or 'quick', from COURSE_PROFILE."""
    name = os.environ.get("COURSE_PROFILE") or "full"
    assert name in PROFILES, (
        f"COURSE_PROFILE is {name!r}; it can be {' or '.join(PROFILES)}"
    )
    return name


def device() -> torch.device:
    """The GPU where there is one, else the CPU; COURSE_DEVICE=cpu insists."""
    name = os.environ.get("COURSE_DEVICE") or (
        "cuda" if torch.cuda.is_available() else "cpu"
    )
    return torch.device(name)


def start(seed: int = 0) -> torch.device:
    """Seed every random number generator that lessons use and say where tensors go."""
    random.seed(seed)
    torch.manual_seed(seed)
    return device()


def steps(full: int, quick: int) -> int:
    """How many training steps this profile allows."""
    return {"full": full, "quick": quick}[profile()]


def learned(claim: bool, what: str) -> None:
    """Assert a claim about learning; the quick profile trains too little to make any."""
    if profile() == "full":
        assert claim, (
            f"{what}. On another seed or machine this can fail by bad luck: run the cell again."
        )


def recorded(lesson: str) -> dict[str, list[list[float]]]:
    """Curves of other seeds, recorded by `make learning RECORD=1`: name -> one list per seed."""
    text = (
        resources.files("course_lib").joinpath("curves", f"{lesson}.json").read_text()
    )
    return json.loads(text)["curves"]
