"""What the examples in docstrings may use without importing it."""

import pytest
import torch


@pytest.fixture(autouse=True)
def torch_in_doctests(doctest_namespace):
    doctest_namespace["torch"] = torch
