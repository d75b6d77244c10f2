"""Every public energy obeys every law; one without a case makes the suite fail."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import lowland as ll
from lowland.energy import Energy
from lowland.testing import ContractError, check_energy


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(1))


def mixture() -> Energy:
    gaussians = [
        ll.energies.Gaussian(torch.tensor([-1.0, 0.0]), torch.eye(2)),
        ll.energies.Gaussian(torch.tensor([2.0, 1.0]), 0.5 * torch.eye(2)),
    ]
    return ll.Mixture(gaussians, torch.tensor([0.25, 0.75]))


CASES: dict[str, Callable[[], Energy]] = {
    "Amortized": lambda: ll.energies.Amortized.from_data(
        points(9, 3), k=4, penalty=0.3, weight=0.5, generator=seeded()
    ),
    "Autoencoder": lambda: ll.energies.Autoencoder.from_data(
        points(8, 1, 2, 3), hidden=(7,), code=3, generator=seeded()
    ),
    "ConvolutionalSparseCoding": lambda: ll.energies.ConvolutionalSparseCoding(
        (2, 1, 2, 1), (2, 2), penalty=0.3, generator=seeded()
    ),
    "ConvNetwork": lambda: ll.energies.ConvNetwork(
        (1, 4, 5), channels=(3, 4), hidden=6, generator=seeded()
    ),
    "ContractiveAutoencoder": lambda: ll.energies.ContractiveAutoencoder.from_data(
        points(8, 1, 2, 3), code=7, generator=seeded()
    ),
    "DoubleWell": lambda: ll.energies.DoubleWell((3,)),
    "Ellipse": lambda: ll.energies.Ellipse((2.0, 1.5), codes=12),
    "Gaussian": lambda: ll.energies.Gaussian(
        torch.tensor([1.0, -1.0]), torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    ),
    "GaussianMixture": lambda: ll.energies.GaussianMixture.from_data(
        points(30, 2, 2), k=3, generator=seeded()
    ),
    "GLO": lambda: ll.energies.GLO.from_data(points(12, 4), m=2, hidden=(6,), generator=seeded()),
    "Inpainter": lambda: ll.energies.Inpainter((1, 5, 6), channels=(3, 4), generator=seeded()),
    "JointEmbedding": lambda: ll.energies.JointEmbedding.from_data(
        points(8, 1, 4, 5), channels=(8, 16), d=3, predictor=4, generator=seeded()
    ),
    "JointFutures": lambda: ll.energies.JointFutures.from_data(
        points(8, 5), k=3, hidden=4, generator=seeded()
    ),
    "KMeans": lambda: ll.energies.KMeans(points(9, 2, 3)),
    "LeastSquares": lambda: ll.energies.LeastSquares(points(4, 3), points(4), event=(4,)),
    "MaskedAutoencoder": lambda: ll.energies.MaskedAutoencoder.from_data(
        points(8, 2, 3), hidden=(7,), likelihood=True, generator=seeded()
    ),
    "MaskedImage": lambda: ll.energies.MaskedImage(
        (2, 4, 6), patch=2, width=16, depth=2, heads=2, decoder=8, generator=seeded()
    ),
    "MaskedTokens": lambda: ll.energies.MaskedTokens(
        9, length=5, width=8, layers=2, heads=2, padding=0, special=(2,), generator=seeded()
    ),
    "Network": lambda: ll.energies.Network.from_data(
        points(8, 5), hidden=(6, 6), generator=seeded()
    ),
    "NextFrame": lambda: ll.energies.NextFrame(
        (2, 5, 6), past=2, k=3, noise=0.5, actions=1, widths=(3, 4), generator=seeded()
    ),
    "PCA": lambda: ll.energies.PCA(points(2, 5), points(5)),
    "ProbabilisticPCA": lambda: ll.energies.ProbabilisticPCA(points(2, 5), points(5), noise=0.7),
    "RestrictedBoltzmann": lambda: ll.energies.RestrictedBoltzmann(
        points(3, 5), points(5), points(3)
    ),
    "Ring": lambda: ll.energies.Ring((2,)),
    "SparseCoding": lambda: ll.energies.SparseCoding((2, 3, 9), penalty=0.3, generator=seeded()),
    "VAE": lambda: ll.energies.VAE.from_data(points(12, 3), m=1, hidden=(6,), generator=seeded()),
    "VectorQuantized": lambda: ll.energies.VectorQuantized.from_data(
        points(12, 2, 2), k=3, positions=2, hidden=(6,), generator=seeded()
    ),
    "Sum": lambda: mixture() + ll.energies.Ring((2,)),
    "Mixture": mixture,
    "Tempered": lambda: ll.energies.KMeans(points(5, 2)) / 3.0,
    "FreeEnergy": lambda: ll.FreeEnergy(ll.energies.KMeans(points(5, 2)), beta=2.0),
    "Scaled": lambda: ll.Scaled(
        ll.energies.KMeans(points(5, 2)),
        ll.Scaling(torch.tensor([3.0, -1.0]), torch.tensor([2.0, 0.5])),
    ),
}
# Where options of an energy choose other formulas.
VARIANTS: dict[str, Callable[[], Energy]] = {
    "RestrictedBoltzmann of real y": lambda: ll.energies.RestrictedBoltzmann(
        points(3, 5),
        points(5),
        points(3),
        visible_offset=points(2, 5)[1],
        hidden_offset=points(2, 3)[1].sigmoid(),
        noise=points(5).exp(),
    ),
    "RestrictedBoltzmann with offsets that stay": lambda: ll.energies.RestrictedBoltzmann(
        points(3, 2, 2),
        points(2, 2),
        points(3),
        visible_offset=points(2, 2).sigmoid(),
        hidden_offset=points(3).sigmoid(),
        centred=False,
    ),
}
ALGEBRA = {"FreeEnergy", "Mixture", "Scaled", "Sum", "Tempered"}
CONDITIONS: dict[str, Callable[[], torch.Tensor]] = {
    "Inpainter": lambda: points(6, 1, 5, 6) > 0,
    "JointEmbedding": lambda: points(6, 1, 4, 5),
    "JointFutures": lambda: points(6, 5),
    "LeastSquares": lambda: points(6, 3),
    "MaskedAutoencoder": lambda: points(6, 2, 3) > 0,
    "MaskedImage": lambda: points(6, 2, 4, 6) > -1.5,
    "NextFrame": lambda: points(6, 2, 3, 5, 6),
}
NEED_NO_CONDITION = set(CONDITIONS) - {"JointFutures", "LeastSquares", "NextFrame"}


def test_every_public_energy_has_a_case() -> None:
    assert set(CASES) == set(ll.energies.__all__) | ALGEBRA


@pytest.mark.parametrize("name", sorted(CASES | VARIANTS))
def test_obeys_every_law(name: str) -> None:
    check_energy((CASES | VARIANTS)[name](), x=CONDITIONS[name]() if name in CONDITIONS else None)


@pytest.mark.parametrize("name", sorted(NEED_NO_CONDITION))
def test_obeys_every_law_without_a_condition(name: str) -> None:
    check_energy(CASES[name]())


class Broken(ll.energies.KMeans):
    """A K-means to be broken in one place at a time."""


def broken_table(self: Broken, y: torch.Tensor, *, x: torch.Tensor | None = None) -> torch.Tensor:
    return ll.energies.KMeans.tabulate(self, y) * 1.001


def broken_codes(self: Broken, y: torch.Tensor, *, x: torch.Tensor | None = None) -> torch.Tensor:
    return ll.energies.KMeans.solve_codes(self, y).clamp(max=1)


def broken_statistics(
    self: Broken, y: torch.Tensor, z: torch.Tensor, *, x: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    sums = ll.energies.KMeans.statistics(self, y, z)
    return {**sums, "counts": sums["counts"].clamp(max=1)}


def broken_solution(self: Broken, statistics: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        self.prototypes.add_(10)


def broken_decoder(self: Broken, z: torch.Tensor, *, x: torch.Tensor | None = None) -> torch.Tensor:
    return self.prototypes[z] + 5


def broken_draws(self: Broken, n: int, *, beta: float, generator, x=None) -> torch.Tensor:
    draws = ll.energies.KMeans.sample_gibbs(self, n, beta=beta, generator=generator)
    return self.prototypes[self.solve_codes(draws)] + (draws - draws.mean(0)) * 0.9


def broken_batch(self: Broken, y: torch.Tensor, *, x=None, z=None) -> torch.Tensor:
    return ll.energies.KMeans.forward(self, y, z=z) + y.mean()


def broken_purity(self: Broken, y: torch.Tensor, *, x=None, z=None) -> torch.Tensor:
    value = ll.energies.KMeans.forward(self, y, z=z)
    y.data.add_(1e-3)
    return value


@pytest.mark.parametrize(
    ("method", "replacement", "law"),
    [
        ("tabulate", broken_table, "table holds"),
        ("solve_codes", broken_codes, "Inference finds"),
        ("statistics", broken_statistics, "statistics add over"),
        ("solve_parameters", broken_solution, "statistics add over"),
        ("decode", broken_decoder, "decoded z"),
        ("sample_gibbs", broken_draws, "virial"),
        ("forward", broken_batch, "other items|batch shape"),
        ("forward", broken_purity, "same input"),
    ],
)
def test_a_broken_energy_is_caught(
    method: str, replacement: Callable, law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    energy = Broken(points(5, 2))
    check_energy(copy.deepcopy(energy))
    monkeypatch.setattr(Broken, method, replacement)
    with pytest.raises(ContractError, match=law):
        check_energy(energy)


def test_an_energy_that_returns_a_column_is_caught() -> None:
    class Column(ll.Energy):
        def __init__(self) -> None:
            super().__init__((2,))

        def forward(self, y, *, x=None, z=None):
            return y.sum(-1, keepdim=True)

    with pytest.raises(ContractError, match="one scalar per item"):
        check_energy(Column())


def test_a_module_of_ones_own_is_loaded_into_an_energy() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 1)

        def forward(self, y: torch.Tensor) -> torch.Tensor:
            return self.head(y)

    check_energy(ll.energies.Network(Mine(), event=(2,)))
