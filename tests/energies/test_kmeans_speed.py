"""The fused sweep of K-means against its definition, and where it must not be trusted."""

import math
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans as SklearnKMeans

import lowland as ll
from lowland._native import kernels
from lowland.capabilities import Swept
from lowland.energies._lloyd import Lloyd
from lowland.energies._refining import descend
from lowland.energies._scoring import Scorer, origin_for
from lowland.train.architectural.sweep import sweeper_of

KMeans = ll.energies.KMeans


@pytest.fixture(autouse=True, scope="module", params=["compiled", "torch"])
def _passes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here holds for the kernel and for what runs where none was compiled."""
    if request.param == "compiled":
        if kernels() is None:
            pytest.skip("lowland was installed without a C compiler")
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lowland.energies._lloyd.library_for", lambda y: None)
        yield


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_same(fast: Swept, slow: Swept, rtol: float) -> None:
    assert fast.codes is not None
    assert slow.codes is not None
    assert (fast.codes != slow.codes).double().mean() < 1e-3  # ties, by rounding
    torch.testing.assert_close(fast.energy, slow.energy, rtol=rtol, atol=1e-12)
    if torch.equal(fast.codes, slow.codes):
        for name, value in slow.statistics.items():
            torch.testing.assert_close(fast.statistics[name], value, rtol=rtol, atol=rtol * 100)


@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 3000),
    d=st.integers(1, 9),
    k=st.integers(1, 40),
    offset=st.sampled_from([0.0, 3.0, 1e3]),
    double=st.booleans(),
)
def test_a_sweep_equals_its_definition(
    seed: int, n: int, d: int, k: int, offset: float, double: bool
) -> None:
    dtype = torch.float64 if double else torch.float32
    y = (torch.randn(n, d, generator=seeded(seed), dtype=torch.float64) + offset).to(dtype)
    energy = KMeans(torch.randn(k, d, generator=seeded(seed + 1)).to(dtype) + offset)
    fast, slow = sweeper_of(energy, y, None), sweeper_of(energy, y, None, by_definition=True)
    for _ in range(6):
        swept, want = fast(), slow()
        assert_same(swept, want, 1e-10 if double else 2e-4)
        energy.solve_parameters(want.statistics)


def test_sums_corrected_for_the_few_that_moved_are_those_taken_afresh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lowland.energies._lloyd._FRESH", 0)
    y = torch.randn(20_000, 6, generator=seeded())
    energy = KMeans(y[:30])
    sweep = Lloyd(y, 30)
    for _ in range(40):
        swept = sweep(energy.prototypes.detach())
        assert swept.codes is not None
        want = torch.zeros(30, 6, dtype=torch.float64).index_add_(0, swept.codes, y.double())
        torch.testing.assert_close(swept.statistics["sums"], want, rtol=1e-5, atol=1e-2)
        energy.solve_parameters(swept.statistics)
    assert 0 < swept.moved < 1000
    assert not sweep.by_distance


@pytest.mark.parametrize("offset", [0.0, 50.0])
@pytest.mark.parametrize(("n", "d", "k"), [(30_000, 6, 30), (5_000, 40, 9), (700, 2, 5)])
def test_the_items_that_another_code_beats_are_those_of_the_definition(
    n: int, d: int, k: int, offset: float
) -> None:
    y = torch.randn(n, d, generator=seeded()) + offset
    prototypes = y[:k].clone()
    table = torch.cdist(y.double(), prototypes.double()).square()
    codes = torch.randint(k, (n,), generator=seeded(1))
    codes[::2] = table[::2].argmin(1)
    origin = origin_for(prototypes)
    scorer = Scorer(y, codes, (k, d), origin)
    frame = scorer.frame(prototypes if origin is None else prototypes - origin)
    beaten = torch.zeros(n, dtype=torch.bool)
    for segment, at in zip(
        scorer.segments, torch.arange(n).split(len(scorer.segments[0].codes)), strict=True
    ):
        beaten[at[scorer.beaten(segment, frame)]] = True
    own = table.gather(1, codes.unsqueeze(1)).squeeze(1)
    sure = (own - table.amin(1) > 1e-2) | (codes == table.argmin(1))
    assert sure.double().mean() > 0.99
    assert torch.equal(beaten[sure], (own > table.amin(1))[sure])
    some = torch.arange(3, n, 7)
    assert (scorer.best_of(y[some], frame) != table[some].argmin(1)).double().mean() < 1e-2


def test_a_descent_ends_at_the_fixed_point_and_early_only_below_hope() -> None:
    y = torch.randn(3000, 2, generator=seeded())
    start = y[:12].clone()
    whole, least = descend(Lloyd(y, 12), start, 300, 0.0)
    energy = KMeans(start)
    fit = ll.fit(energy, y, ll.CoordinateDescent(), steps=300)
    assert fit.converged
    torch.testing.assert_close(whole, energy.prototypes.data, rtol=1e-4, atol=1e-4)
    assert least == pytest.approx(3000 * fit.history.data_energy[-1], rel=1e-5)
    early, high = descend(Lloyd(y, 12), start, 300, 0.0, goal=0.5 * least)
    assert high == pytest.approx(float(ll.score(KMeans(early), y).sum()), rel=1e-5)
    assert high > least
    reached, low = descend(Lloyd(y, 12), start, 300, 0.0, goal=2 * least)
    assert torch.equal(reached, whole)
    assert low == least


def test_threads_change_no_code() -> None:
    y = torch.randn(40_000, 5, generator=seeded())
    start = y[:17].clone()
    one = Lloyd(y, 17)(start)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        three = Lloyd(y, 17)(start)
    finally:
        torch.set_num_threads(threads)
    assert one.codes is not None
    assert three.codes is not None
    assert (one.codes != three.codes).sum() <= 2
    torch.testing.assert_close(one.energy, three.energy, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("n", "d", "k", "offset"),
    [(20_000, 8, 40, 0.0), (20_000, 8, 40, 5.0), (4_000, 100, 12, 0.0), (3_000, 2, 20, 0.0)],
)
def test_shards_give_the_wells_of_the_whole_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, k: int, offset: float
) -> None:
    monkeypatch.setattr("lowland.energies._lloyd._FRESH", 0)
    y = torch.randn(n, d, generator=seeded()) + offset

    def wells(shards: list[torch.Tensor]) -> torch.Tensor:
        passes, prototypes = [Lloyd(shard, k) for shard in shards], y[:k].clone()
        for _ in range(12):
            swept = [one(prototypes).statistics for one in passes]
            sums = sum(each["sums"] for each in swept)
            counts = sum(each["counts"] for each in swept)
            prototypes = (sums / counts.unsqueeze(1)).float()
        return prototypes

    # Lengths that are neither whole blocks nor whole vectors.
    parts = y.split([n // 3 + 5, 301, n - n // 3 - 306])
    assert torch.equal(wells([part.clone() for part in parts]), wells([y]))


def test_wells_that_left_their_origin_are_still_told_by_their_scores() -> None:
    y = torch.randn(3000, 3, generator=seeded()) + 1e4
    sweep = Lloyd(y, 4)
    sweep(torch.randn(4, 3, generator=seeded(1)))
    swept = sweep(y[:4])
    assert not sweep.by_distance
    assert swept.codes is not None
    want = (y.unsqueeze(1) - y[:4]).square().sum(2).argmin(1)
    assert (swept.codes != want).sum() <= 2


def test_wells_that_scores_cannot_tell_apart_are_told_by_distance() -> None:
    wells = torch.tensor([[-5000.0], [5000.0], [5000.5]])
    y = torch.cat([torch.full((50, 1), -5000.0), 5000 + torch.rand(50, 1, generator=seeded())])
    sweep = Lloyd(y, 3)
    swept = sweep(wells)
    assert sweep.by_distance
    assert swept.codes is not None
    assert torch.equal(swept.codes, (y - wells.T).square().argmin(1))


@pytest.mark.parametrize("start", ["swap", "growing"])
@pytest.mark.parametrize(("n", "d", "k"), [(1500, 2, 2), (300, 3, 7), (40, 1, 40), (5, 2, 1)])
def test_refined_starts_are_repeatable_and_no_worse(start: str, n: int, d: int, k: int) -> None:
    y = torch.randn(n, d, generator=seeded())
    one, two = (KMeans.from_data(y, k=k, start=start, generator=seeded(3)) for _ in range(2))
    assert torch.equal(one.prototypes, two.prototypes)
    plain = KMeans.from_data(y, k=k, start="k-means++", generator=seeded(3))
    assert ll.score(one, y).mean() <= ll.score(plain, y).mean() * 1.05 + 1e-9


def test_swaps_leave_the_minimum_where_lloyd_is_caught() -> None:
    centres = torch.tensor([[0.0, 0], [1, 0], [0, 1], [50, 0], [51, 0], [50, 1]])
    y = (centres.unsqueeze(1) + 0.05 * torch.randn(6, 60, 2, generator=seeded())).flatten(0, 1)
    for seed in range(3):
        energy = KMeans.from_data(y, k=6, start="swap", generator=seeded(seed))
        assert float(ll.score(energy, y).mean()) < 0.01


@pytest.mark.parametrize(("source", "k"), [("toy:spiral?n=600&seed=1", 20), ("digits", 10)])
def test_the_default_fit_ends_no_higher_than_the_best_of_ten(source: str, k: int) -> None:
    y = ll.data.read(source).y.flatten(1)
    energy = KMeans.from_data(y, k, generator=seeded())
    ll.fit(energy, y, ll.CoordinateDescent(), steps=300)
    peer = SklearnKMeans(k, n_init=10, random_state=0).fit(y.numpy())
    assert float(ll.score(energy, y).double().sum()) <= peer.inertia_ * (1 + 1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_equal_items_converge_at_zero_energy(value: float) -> None:
    y = torch.full((3000, 4), value)
    energy = KMeans.from_data(y, k=5, start="swap", generator=seeded())
    fit = ll.fit(energy, y, ll.CoordinateDescent(), steps=20)
    assert fit.converged
    assert float(ll.score(energy, y).max()) == 0


@pytest.mark.parametrize("n", [1, 7, 255, 257, 9000])
@pytest.mark.parametrize("d", [1, 3])
def test_any_length_and_one_well(n: int, d: int) -> None:
    y = torch.randn(n, d, generator=seeded())
    energy = KMeans(y[:1])
    ll.fit(energy, y, ll.CoordinateDescent(), steps=3)
    torch.testing.assert_close(energy.prototypes[0].data, y.mean(0), rtol=1e-4, atol=1e-5)


def test_data_need_not_be_contiguous() -> None:
    base = torch.randn(6, 5000, generator=seeded())
    results = []
    for y in (base.T, base.T.contiguous()):
        energy = KMeans(y[:9])
        ll.fit(energy, y, ll.CoordinateDescent(), steps=20)
        results.append(energy.prototypes.data)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_a_bad_row_far_down_is_named() -> None:
    y = torch.zeros(50_000, 3)
    y[43_210, 1] = math.nan
    with pytest.raises(ll.DomainError, match="43210"):
        ll.fit(KMeans(torch.zeros(2, 3)), y, ll.CoordinateDescent(), steps=2)


def test_a_prototype_that_is_not_finite_is_named_and_not_passed_over() -> None:
    y = torch.randn(500, 3, generator=seeded())
    energy = KMeans(y[:4])
    with torch.no_grad():
        energy.prototypes[2, 1] = math.nan
    with pytest.raises(ll.DivergedError, match=r"A prototype.* index \(2, 1\)"):
        ll.score(energy, y)
    with pytest.raises(ll.DivergedError, match=r"A prototype.* index \(2, 1\)"):
        ll.fit(energy, y, ll.CoordinateDescent(), steps=2)


def test_memory_beyond_the_data_is_bounded() -> None:
    code = """
import resource, torch, lowland as ll
torch.set_num_threads(1)
y = torch.randn(1_000_000, 8, generator=torch.Generator().manual_seed(0))
ll.fit(ll.energies.KMeans(y[:64]), y[:10_000], ll.CoordinateDescent(), steps=2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
energy = ll.energies.KMeans(y[:64])
energy.sweeper(y)()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
ll.fit(energy, y, ll.CoordinateDescent(), steps=2)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sweep, fit = map(float, out.stdout.split())
    assert sweep < 60
    assert fit < 200
