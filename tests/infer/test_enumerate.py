"""Every code."""

import pytest
import torch

import lowland as ll
from lowland.infer import table_of_codes
from lowland.infer.enumerate import best_codes


class Plain(ll.Energy):
    """A K-means without capabilities."""

    def __init__(self, prototypes: torch.Tensor) -> None:
        super().__init__(prototypes.shape[1:], ll.OneHot(len(prototypes)))
        self.register_buffer("prototypes", prototypes)

    def forward(self, y, *, x=None, z=None):
        return (y - self.prototypes[z]).flatten(-len(self.event)).square().sum(-1)


@pytest.mark.parametrize("event", [(3,), (1, 2, 2)])
def test_the_definition_equals_the_capability(event: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.randn(7, *event, dtype=torch.float64, generator=generator)
    y = torch.randn(30, *event, dtype=torch.float64, generator=generator)
    fast, slow = ll.energies.KMeans(prototypes), Plain(prototypes)
    torch.testing.assert_close(
        table_of_codes(fast, y, None).detach(),
        table_of_codes(slow, y, None),
    )
    assert torch.equal(best_codes(fast, y, None), best_codes(slow, y, None))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    energy = Plain(torch.randn(7, 3, generator=generator))
    y = torch.randn(30, 3, generator=generator)
    whole = table_of_codes(energy, y, None), ll.infer(energy, y).z
    module = __import__("lowland.infer.enumerate", fromlist=["chunks"])
    small = module.chunks
    monkeypatch.setattr(module, "chunks", lambda n, size: small(n, size, 4 * size))
    assert torch.equal(whole[0], table_of_codes(energy, y, None))
    assert torch.equal(whole[1], ll.infer(energy, y).z)
