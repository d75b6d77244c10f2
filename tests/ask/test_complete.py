"""y1 → y2: several answers, best first, never their mean."""

import math

import pytest
import torch

import lowland as ll

F64 = torch.float64
SECOND = torch.tensor([True, False])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=F64, generator=seeded(seed))


def by_hand(
    prototypes: torch.Tensor, y: torch.Tensor, observed: torch.Tensor, distinct: float = 1e-3
) -> list[tuple[float, torch.Tensor]]:
    """The separate minima of a K-means energy over the hidden part, from its definition."""
    found: list[tuple[float, torch.Tensor]] = []
    for prototype in prototypes:
        answer = torch.where(observed, y, prototype)
        own = (answer - prototype).square().sum()
        if own <= (answer - prototypes).flatten(1).square().sum(1).min() + 1e-12:
            found.append((float(own), answer))
    kept: list[tuple[float, torch.Tensor]] = []
    for value, answer in sorted(found, key=lambda pair: pair[0]):
        gaps = [((answer - other)[~observed]).square().mean().sqrt() for _, other in kept]
        if all(gap > distinct for gap in gaps):
            kept.append((value, answer))
    return kept


def assert_equal_to_hand(
    prototypes: torch.Tensor, y: torch.Tensor, observed: torch.Tensor, n: int
) -> None:
    energy = ll.energies.KMeans(prototypes)
    given = torch.where(observed, y, torch.nan)
    found = ll.complete(energy, given, observed=observed, n=n)
    for i in range(len(y)):
        mask = observed if observed.shape == y.shape[1:] else observed[i]
        want = by_hand(prototypes, y[i], mask)[:n]
        count = int(found.count[i])
        assert count == len(want)
        torch.testing.assert_close(
            found.energy[i, :count], torch.tensor([value for value, _ in want], dtype=F64)
        )
        torch.testing.assert_close(found.y[i, :count], torch.stack([a for _, a in want]))
        assert found.energy[i, count:].isinf().all()
        assert torch.equal(
            found.y[i][:, mask], y[i][mask].expand(n, -1)
        )  # bit for bit, blanks included
        assert found.y[i, count:][:, ~mask].isnan().all()
        torch.testing.assert_close(ll.score(energy, found.y[i, :count]), found.energy[i, :count])


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("seed", range(3))
def test_kmeans_in_the_plane(k: int, seed: int) -> None:
    assert_equal_to_hand(draw(k, 2, seed=seed), draw(12, 2, seed=seed + 50), SECOND, 5)


def test_kmeans_with_twins_and_more_wells_than_are_looked_at_first() -> None:
    prototypes = draw(300, 2)
    prototypes[100:200] = prototypes[:100]
    assert_equal_to_hand(prototypes, draw(6, 2, seed=5), SECOND, 4)


def test_kmeans_with_a_mask_for_each_item() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    assert_equal_to_hand(draw(20, 3), draw(3, 3, seed=8), mask, 6)


def test_kmeans_on_real_digits() -> None:
    y = ll.data.digits().y.double()
    observed = ll.pretext.region("left", (1, 8, 8))
    assert_equal_to_hand(y[:60], y[1000:1012], observed, 5)


class Correlated(ll.Energy):
    """Wells with slanted axes: given y1, the best y2 is not the well's own y2."""

    def __init__(self, centres: torch.Tensor) -> None:
        super().__init__((2,), ll.OneHot(len(centres)))
        self.centres = centres
        self.precision = torch.tensor([[2.0, -1.8], [-1.8, 2.0]], dtype=F64)

    def forward(self, y, *, x=None, z=None):
        d = y - self.centres[z]
        return torch.einsum("...i,ij,...j->...", d, self.precision, d)

    def decode(self, z, *, x=None):
        return self.centres[z]


@pytest.mark.parametrize("k", [5, 400])
def test_slanted_wells_against_a_fine_grid(k: int) -> None:
    energy = Correlated(3 * draw(k, 2))
    y = torch.tensor([[0.3, math.nan], [-1.0, math.nan]], dtype=F64)
    found = ll.complete(energy, y, observed=SECOND, n=1)
    grid = torch.linspace(-15, 15, 20_001, dtype=F64)
    for i in range(2):
        line = torch.stack([y[i, 0].expand(len(grid)), grid], -1)
        assert float(found.energy[i, 0]) <= float(ll.score(energy, line).min()) + 1e-5


GRID = torch.linspace(-5, 5, 100_001, dtype=F64)


def minima_on_a_line(energy: ll.Energy, given: float) -> torch.Tensor:
    line = torch.stack([torch.full_like(GRID, given), GRID], -1)
    value = ll.score(energy, line)
    low = (value[1:-1] < value[:-2]) & (value[1:-1] <= value[2:])
    at = torch.nonzero(low).flatten() + 1
    return GRID[at[value[at].argsort()]]


def gaussian(mean: list[float], variance: float) -> ll.energies.Gaussian:
    return ll.energies.Gaussian(torch.tensor(mean, dtype=F64), variance * torch.eye(2, dtype=F64))


SURFACES = {
    "Ring": ll.energies.Ring(width=0.3),
    "three Gaussians": ll.FreeEnergy(
        ll.Mixture(
            [gaussian([0.0, -1.2], 0.1), gaussian([0.3, 0.1], 0.05), gaussian([0.1, 1.5], 0.2)]
        ),
        beta=1.0,
    ),
    "FreeEnergy of KMeans": ll.FreeEnergy(ll.energies.KMeans(draw(6, 2))),
    "sum with a latent": ll.energies.KMeans(draw(4, 2, seed=2)) + ll.energies.Ring(width=1.0),
}


@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize("given", [0.0, 0.4, -0.7, 1.3])
def test_descents_find_the_minima_of_a_grid(name: str, given: float) -> None:
    energy = SURFACES[name]
    want = minima_on_a_line(energy, given)
    y = torch.tensor([[given, math.nan]], dtype=F64)
    found = ll.complete(energy, y, observed=SECOND, n=8, starts=64, generator=seeded())
    count = int(found.count[0])
    assert count == len(want)
    answers = found.y[0, :count]
    torch.testing.assert_close(answers[:, 1].sort().values, want.sort().values, atol=1e-3, rtol=0)
    assert (found.energy[0, 1:count] >= found.energy[0, : count - 1]).all()
    torch.testing.assert_close(ll.score(energy, answers), found.energy[0, :count])


@pytest.mark.parametrize("given", [0.0, 0.6, -0.8, 0.95])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_sides_of_a_ring_and_never_their_mean(given: float, dtype: torch.dtype) -> None:
    y = torch.tensor([given, math.nan], dtype=dtype)
    found = ll.complete(ll.energies.Ring(), y, observed=SECOND, n=4, generator=seeded())
    side = math.sqrt(1 - given**2)
    assert int(found.count) == 2
    torch.testing.assert_close(
        found.y[:2, 1].sort().values, torch.tensor([-side, side], dtype=dtype), atol=1e-3, rtol=0
    )


def test_both_wells() -> None:
    y = torch.tensor([[math.nan, 0.7]])
    found = ll.complete(ll.energies.DoubleWell(), y, observed=~SECOND, n=3, generator=seeded())
    assert found.count.tolist() == [2]
    torch.testing.assert_close(
        found.y[0, :2, 0].sort().values, torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0
    )


def test_a_start_on_a_ridge_is_no_answer() -> None:
    """At y2 = 0 the slope is zero, and it is the worst answer there is, not a minimum."""
    starts = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    found = ll.complete(
        ll.energies.Ring(), torch.tensor([[0.6, 0.0]]), observed=SECOND, n=3, starts=starts
    )
    assert found.count.tolist() == [2]


@pytest.mark.parametrize("energy", [ll.energies.KMeans(draw(9, 2)), ll.energies.Ring()])
@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3)])
def test_batch_shapes(energy: ll.Energy, batch: tuple[int, ...]) -> None:
    found = ll.complete(energy, draw(*batch, 2), observed=SECOND, n=3, generator=seeded(), steps=20)
    assert found.y.shape == (*batch, 3, 2)
    assert found.energy.shape == (*batch, 3)
    assert found.count.shape == batch


def test_scaled_energies_answer_in_the_units_of_the_data() -> None:
    inner = ll.energies.KMeans(draw(9, 2))
    scaling = ll.Scaling(
        torch.tensor([100.0, -3.0], dtype=F64), torch.tensor([7.0, 1e-3], dtype=F64)
    )
    outer = ll.Scaled(inner, scaling)
    y = scaling.inverse(draw(5, 2, seed=4))
    found = ll.complete(outer, y, observed=SECOND, n=3)
    want = ll.complete(inner, scaling(y), observed=SECOND, n=3)
    assert torch.equal(found.count, want.count)
    assert torch.equal(found.y[..., 0], y[:, :1].expand(5, 3))
    torch.testing.assert_close(found.y[..., 1], scaling.inverse(want.y)[..., 1], equal_nan=True)
    torch.testing.assert_close(found.energy, want.energy)
    first = found.y[:, 0]
    torch.testing.assert_close(ll.score(outer, first), found.energy[:, 0])


def test_starts_are_in_the_units_of_the_data() -> None:
    scaling = ll.Scaling(torch.tensor(50.0), torch.tensor(10.0))
    outer = ll.Scaled(ll.energies.Ring(), scaling)
    starts = scaling.inverse(torch.tensor([[0.0, 0.7]]))
    y = scaling.inverse(torch.tensor([[0.6, 0.0]]))
    found = ll.complete(outer, y, observed=SECOND, n=1, starts=starts)
    torch.testing.assert_close(found.y[0, 0], torch.tensor([56.0, 58.0]), atol=1e-2, rtol=0)


def test_a_discrete_answer() -> None:
    class Spelling(ll.Energy):
        words = torch.tensor([[0, 1], [0, 2], [1, 1]])

        def __init__(self) -> None:
            super().__init__((2,), ll.OneHot(3), ll.Categorical(3))

        def forward(self, y, *, x=None, z=None):
            return (y != self.words[z]).float().sum(-1)

        def decode(self, z, *, x=None):
            return self.words[z]

    found = ll.complete(Spelling(), torch.tensor([[0, 0]]), observed=SECOND, n=4)
    assert found.count.tolist() == [2]
    assert found.y[0, :2].tolist() == [[0, 1], [0, 2]]
    assert found.y.dtype == torch.int64


def ask(**options: object) -> ll.Completion:
    energy = options.pop("energy", ll.energies.Ring())
    y = options.pop("y", torch.zeros(3, 2))
    return ll.complete(energy, y, **{"observed": SECOND, **options})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"observed": torch.tensor([1.0, 0.0])}, ll.DomainError, r"'observed'.*float32"),
        ({"observed": torch.tensor([True])}, ll.ShapeError, r"'observed'.*\(2,\).*\(1,\)"),
        ({"observed": torch.tensor([True, True])}, ll.DomainError, "'observed' hides nothing"),
        ({"n": 0}, ll.DomainError, "n=0"),
        ({"steps": 0}, ll.DomainError, "steps=0"),
        ({"distinct": -1.0}, ll.DomainError, "distinct=-1"),
        ({"distinct": math.nan}, ll.DomainError, "distinct=nan"),
        ({"starts": 0}, ll.DomainError, "'starts'.*0"),
        ({"starts": torch.zeros(0, 2)}, ll.DomainError, "'starts'"),
        ({"starts": torch.zeros(4, 3)}, ll.ShapeError, r"'starts'.*\(4, 3\)"),
        ({"starts": torch.full((2, 2), math.nan)}, ll.DomainError, "'starts'"),
        ({"starts": torch.zeros((2, 2), dtype=F64)}, ll.DomainError, "'starts'.*float64"),
        ({"y": torch.tensor([[math.nan, 0.0]])}, ll.DomainError, "'y'.*NaN"),
        ({"y": torch.zeros(0, 2)}, ll.DomainError, "'y' is empty"),
        ({"y": torch.zeros(3, 5)}, ll.ShapeError, "'y'"),
        ({"y": torch.zeros(3, 2, dtype=torch.int64)}, ll.DomainError, "'y'.*int64"),
        (
            {"energy": ll.energies.KMeans(torch.zeros(2, 2)), "starts": 4},
            ll.DomainError,
            "'starts' has no meaning",
        ),
    ],
)
def test_refusals(options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ask(**options)


@pytest.mark.wrong_types
def test_a_mask_is_a_tensor() -> None:
    with pytest.raises(ll.DomainError, match=r"'observed'.*list"):
        ask(observed=[True, False])


def test_one_seed_one_answer() -> None:
    one, two = (ask(generator=seeded(7), y=torch.ones(3, 2) / 2) for _ in range(2))
    torch.testing.assert_close(one.y, two.y, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(one.energy, two.energy, rtol=0, atol=0)
