"""The last resort: annealed importance sampling."""

import math

import torch

import lowland as ll
from lowland.infer import estimate
from lowland.latent import Ball, Normal

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


class Funnel(ll.Energy):
    """A well whose width changes along it, so that one normal approximation at its mode fails."""

    def __init__(self, m: int) -> None:
        super().__init__((1,), Normal(m))

    def forward(self, y, *, x=None, z=None):
        neck = 2 * z[..., 0]
        rest = z[..., 1:].square().sum(-1)
        narrow = rest * (-neck).exp() / 2 - rest / 2 + neck * (z.shape[-1] - 1) / 2
        return narrow + self.latent.regularizer(z) + 0 * y[..., 0]


def test_a_funnel_is_integrated_by_annealing() -> None:
    found = estimate(Funnel(12), torch.zeros(2, 1, dtype=F64), beta=1.0, measure="sum")
    exact = -12 / 2 * math.log(2 * math.pi)
    assert "annealed" in found.method
    assert ((found.value.detach() - exact).abs() <= 5 * found.standard_error + 0.3).all()


def test_it_says_what_it_is_worth_and_is_repeatable() -> None:
    energy, y = Funnel(12), torch.zeros(1, 1, dtype=F64)
    first = estimate(energy, y, measure="sum")
    assert torch.equal(first.value, estimate(energy, y, measure="sum").value)
    assert 1 <= float(first.effective_sample_size) <= 64
    assert float(first.standard_error) > 0
    other = estimate(energy, y, measure="sum", generator=torch.Generator().manual_seed(3))
    assert not torch.equal(first.value, other.value)


def test_the_kernel_and_the_weights_are_right(monkeypatch) -> None:
    """Where a formula exists, annealing alone agrees with it: in a ball and in the open."""
    import sys

    marginal = sys.modules["lowland.infer.marginal"]
    monkeypatch.setattr(marginal, "_ENOUGH", math.inf)

    class Bowl(ll.Energy):
        def __init__(self, latent) -> None:
            super().__init__((4,), latent)

        def forward(self, y, *, x=None, z=None):
            return 2 * (y - z).square().sum(-1) + self.latent.regularizer(z)

    y = 0.3 * draw(3, 4)
    found = estimate(Bowl(Normal(4)), y, beta=1.0, measure="sum")
    exact = 0.4 * y.square().sum(1) - 2 * math.log(2 * math.pi / 5)
    assert found.method == "annealed importance"
    assert ((found.value - exact).abs() <= 5 * found.standard_error + 0.02).all()
    found = estimate(Bowl(Ball(4, 8.0)), y, beta=1.0, measure="sum")
    exact = -2 * math.log(2 * math.pi / 4)
    assert found.method == "annealed importance"
    assert ((found.value - exact).abs() <= 5 * found.standard_error + 0.02).all()
