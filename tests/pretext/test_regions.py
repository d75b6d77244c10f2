"""Names of regions."""

import pytest
import torch

import lowland as ll

region = ll.pretext.region


@pytest.mark.parametrize(("one", "other"), [("left", "right"), ("top", "bottom")])
@pytest.mark.parametrize("event", [(1, 8, 8), (3, 5, 7), (4, 4)])
def test_halves_are_complements(one: str, other: str, event: tuple[int, ...]) -> None:
    assert torch.equal(region(one, event), ~region(other, event))


def test_halves_of_a_vector() -> None:
    assert region("left", (5,)).tolist() == [True, True, False, False, False]
    assert region("top", (1, 2, 1)).flatten().tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("0", [0]), ("1-3", [1, 2, 3]), ("0, 4", [0, 4]), ("b,d", [1, 3]), ("a-b", [4])],
)
def test_columns(name: str, chosen: list[int]) -> None:
    mask = region(name, (5,), columns=("a", "b", "c", "d", "a-b"))
    assert mask.nonzero().flatten().tolist() == chosen


@pytest.mark.parametrize(
    "name", ["5", "0-5", "3-1", "0-", "-1", "", ",", "0,,1", "age", "²", "top", "1-²", "1.0"]
)
def test_a_column_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ll.DomainError, match="'observed' names a column"):
        region(name, (5,))


@pytest.mark.parametrize("name", ["0-4", "0,1,2,3,4"])
def test_something_must_be_hidden(name: str) -> None:
    with pytest.raises(ll.DomainError, match=r"'observed'.*hide"):
        region(name, (5,))


@pytest.mark.parametrize(("name", "event"), [("middle", (1, 8, 8)), ("left", ()), ("left", (1,))])
def test_what_has_no_such_region(name: str, event: tuple[int, ...]) -> None:
    with pytest.raises(ll.DomainError, match="'observed'"):
        region(name, event)
