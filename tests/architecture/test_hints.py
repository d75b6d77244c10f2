"""The hints of src are enforced in this test run, and its examples are found all the same."""

import doctest
import os
from typing import Any

import jaxtyping
import pytest

from lowland import infer
from lowland._errors import DomainError
from lowland.latent import OneHot

enforced = pytest.mark.skipif(
    os.environ.get("LOWLAND_TYPECHECK") == "0", reason="LOWLAND_TYPECHECK=0 was asked for"
)
WRONG: Any = "three"


@enforced
def test_a_value_of_a_wrong_type_is_caught() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'k'"):
        OneHot(WRONG)


@pytest.mark.wrong_types
def test_a_marked_test_meets_the_error_that_users_meet() -> None:
    with pytest.raises(DomainError, match="'k' of OneHot"):
        OneHot(WRONG)


def test_examples_of_functions_are_found_behind_the_hook() -> None:
    module = __import__(infer.__module__, fromlist=["infer"])
    found = {test.name for test in doctest.DocTestFinder().find(module) if test.examples}
    assert f"{infer.__module__}.infer" in found
