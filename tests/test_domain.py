"""Where y lives."""

import math

import pytest
import torch

import lowland as ll

DOMAINS = [ll.Real(), ll.Binary(), ll.Categorical(5)]


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_noise_lies_in_its_own_domain(domain: ll.domain.Domain) -> None:
    like = torch.zeros((), dtype=torch.float64)
    draws = [
        domain.noise((200, 3), generator=torch.Generator().manual_seed(1), like=like)
        for _ in range(2)
    ]
    domain.check(draws[0])
    assert draws[0].shape == (200, 3)
    assert torch.equal(*draws)
    assert len(draws[0].unique()) > 1


@pytest.mark.parametrize(
    ("domain", "y", "message"),
    [
        (ll.Real(), torch.tensor([1]), r"'rows'.*int64"),
        (ll.Real(), torch.tensor([0.0, math.nan]), r"'rows'.*\(1,\)"),
        (ll.Real(), torch.tensor([[0.0], [-math.inf]]), r"'rows'.*\(1, 0\)"),
        (ll.Binary(), torch.tensor([0, 1]), r"'rows'.*int64"),
        (ll.Binary(), torch.tensor([0.0, 0.5]), r"'rows'.*0\.5"),
        (ll.Binary(), torch.tensor([math.nan]), r"'rows'.*nan"),
        (ll.Binary(), torch.tensor([1.0, math.inf]), r"'rows'.*inf"),
        (ll.Binary(), torch.tensor([-1.0, 0.0]), r"'rows'.*-1\.0"),
        (ll.Categorical(3), torch.tensor([0.0]), r"'rows'.*float32"),
        (ll.Categorical(3), torch.tensor([3]), r"'rows'.*\[0, 3\).*3 to 3"),
        (ll.Categorical(3), torch.tensor([-1]), r"'rows'.*-1"),
    ],
)
def test_a_value_outside_is_refused(
    domain: ll.domain.Domain, y: torch.Tensor, message: str
) -> None:
    with pytest.raises(ll.DomainError, match=message):
        domain.check(y, "rows")


@pytest.mark.parametrize("n", [1, 0, True])
def test_a_category_has_two_classes(n: int) -> None:
    with pytest.raises(ll.DomainError, match=f"'n' of Categorical.*{n!r}"):
        ll.Categorical(n)
