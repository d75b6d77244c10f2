"""The kernel that draws many numbers at once draws what torch does, or leaves it to torch."""

import ctypes
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from instruction_sets import WIDTHS, library
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from lowland import _random
from lowland._native import twister
from lowland._native.twister import Kind, agrees, filled

MANY = 20_000
DRAWS: dict[str, Callable[[torch.Generator], Tensor]] = {
    "normal": lambda g: _random.normal((MANY,), g, like=torch.empty(())),
    "odd normal": lambda g: _random.normal((MANY + 7,), g, like=torch.empty(())),
    "double normal": lambda g: _random.normal(
        (MANY,), g, like=torch.empty((), dtype=torch.float64)
    ),
    "uniform": lambda g: _random.uniform((MANY + 3,), g, like=torch.empty(())),
    "shorts": lambda g: _random.shorts((MANY + 5,), g, like=torch.empty(())),
    "coins": lambda g: _random.coins(torch.linspace(0, 1, MANY), g),
    "odd coins": lambda g: _random.coins(torch.linspace(0, 1, MANY + 1), g),
    "blocks": lambda g: torch.cat(
        [block.clone() for block in _random.normals(9, g, like=torch.empty(100, 40))]
    ),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def available() -> ctypes.CDLL:
    found = library()
    if not agrees(found, found.lowland_widest(), Kind.NORMAL):
        pytest.skip("torch takes other formulas on this processor")
    return found


def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_random, "filled", lambda *_: False)


def bits(drawn: Tensor) -> Tensor:
    return drawn.view(torch.int32)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("kind", [Kind.WHOLE, Kind.UNIFORM, Kind.NORMAL])
@given(seed=st.integers(0, 2**32), n=st.integers(16, 5000), before=st.integers(0, 1300))
def test_a_kernel_draws_what_torch_draws(
    width: int, kind: Kind, seed: int, n: int, before: int
) -> None:
    found = library(width)
    if kind is Kind.NORMAL:
        available()
        if width == 0:
            assert not agrees(found, width, kind)
            return
    ours, theirs = seeded(seed), seeded(seed)
    for g in (ours, theirs):
        torch.rand(before, generator=g)
    out = torch.empty(n + n % 2 * (kind is Kind.WHOLE))
    assert twister._draw(found, width, out, kind, ours)
    assert torch.equal(bits(out), bits(twister._torch(out, kind, theirs)))
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 5000), before=st.integers(0, 1300))
def test_a_kernel_throws_the_coins_that_torch_throws(
    width: int, seed: int, n: int, before: int
) -> None:
    found, ours, theirs = library(width), seeded(seed), seeded(seed)
    for g in (ours, theirs):
        torch.rand(before, generator=g)
    chances, out = torch.linspace(0, 1, n), torch.empty(n)
    assert twister._draw(found, width, out, Kind.COIN, ours, chances + 1)
    with pytest.MonkeyPatch.context() as patch:
        slowly(patch)
        assert torch.equal(out, _random.coins(chances, theirs))
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_whether_there_is_a_kernel_cannot_be_seen(
    draw: Callable[[torch.Generator], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = seeded(3), seeded(3)
    fast = [draw(ours) for _ in range(3)]
    slowly(monkeypatch)
    slow = [draw(theirs) for _ in range(3)]
    assert all(map(torch.equal, fast, slow))
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_the_kernel_is_taken_for_many_numbers_of_any_generator() -> None:
    available()
    for generator in (seeded(), None):
        for kind in Kind:
            chances = torch.ones(MANY) if kind is Kind.COIN else None
            assert filled(torch.empty(MANY), kind, generator, chances)
            assert not filled(torch.empty(100), kind, generator, None)
    torch.manual_seed(5)
    drawn = _random.normal((MANY,), None, like=torch.empty(()))
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.randn(MANY))


@pytest.mark.parametrize(
    "out",
    [
        torch.empty(MANY, dtype=torch.float64),
        torch.empty(MANY, dtype=torch.int32),
        torch.empty(MANY, dtype=torch.bfloat16),
        torch.empty(MANY, 2)[:, 0],
        torch.nn.Parameter(torch.empty(MANY)),
        torch.empty(MANY, device="meta"),
    ],
    ids=["float64", "int32", "bfloat16", "strided", "parameter", "meta"],
)
def test_other_tensors_are_left_to_torch(out: Tensor) -> None:
    g = seeded()
    assert not filled(out, Kind.NORMAL, g)
    assert torch.equal(g.get_state(), seeded().get_state())


def test_nothing_is_drawn_behind_the_back_of_what_notes_operations() -> None:
    g = seeded()

    def noisy(y: Tensor) -> Tensor:
        return y + _random.normal_like(y, g)

    def noisy_by_size(y: Tensor) -> Tensor:
        return y + _random.normal((MANY,), None, like=y)

    y = torch.zeros(MANY)
    noted = make_fx(noisy)(y)
    assert any("normal" in str(node.target) for node in noted.graph.nodes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tracing itself
        followed = torch.jit.trace(noisy_by_size, y, check_trace=False)
    assert "normal" in str(followed.graph)
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(lambda y: y + _random.normal_like(y, None))(torch.zeros(2, MANY))


def test_a_draw_by_another_thread_meanwhile_is_no_draw_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, g, other = available(), seeded(), []

    class Meddled(ctypes.CDLL):
        """A kernel during which somebody else draws."""

        def __init__(self) -> None:
            """Without a file."""

        lowland_widest, lowland_same = found.lowland_widest, found.lowland_same

        def lowland_mersenne(self, *arguments: int) -> int:
            other.append(torch.randn(MANY, generator=g))
            return int(found.lowland_mersenne(*arguments))

    monkeypatch.setattr(twister, "_library", lambda _: Meddled())
    drawn = _random.normal((MANY,), g, like=torch.empty(()))
    wanted = torch.randn(2, MANY, generator=seeded())
    assert torch.equal(torch.stack([*other, drawn]), wanted)


def test_a_number_that_torch_had_in_store_does_not_come_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It draws some in pairs, and keeps the second beside the state of the twister."""
    found, g, other = available(), seeded(), []
    torch.randn(1, generator=g, dtype=torch.float64)

    class Meddled(ctypes.CDLL):
        """A kernel during which somebody else draws what was in store."""

        def __init__(self) -> None:
            """Without a file."""

        lowland_widest, lowland_same = found.lowland_widest, found.lowland_same

        def lowland_mersenne(self, *arguments: int) -> int:
            other.append(torch.randn(1, generator=g, dtype=torch.float64))
            return int(found.lowland_mersenne(*arguments))

    monkeypatch.setattr(twister, "_library", lambda _: Meddled())
    _random.normal((MANY,), g, like=torch.empty(()))
    assert not torch.equal(other[0], torch.randn(1, generator=g, dtype=torch.float64))


@pytest.mark.parametrize(
    "default",
    [
        "torch.set_default_dtype(torch.float16)",
        "torch.set_default_dtype(torch.float64)",
        'torch.set_default_device("meta")',
    ],
)
def test_defaults_of_torch_have_no_say(default: str) -> None:
    """In a process of its own, for the trial is made once."""
    code = f"""
import torch
from lowland._native.twister import Kind, _library, filled
{default}
out = torch.empty({MANY}, dtype=torch.float32, device="cpu")
g = torch.Generator("cpu").manual_seed(0)
done = filled(out, Kind.NORMAL, g)
wanted = torch.randn({MANY}, dtype=torch.float32, device="cpu", generator=g.manual_seed(0))
print(done, torch.equal(out, wanted))
"""
    available()
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert made.stdout.strip() == "True True", made.stderr


@pytest.fixture
def untried() -> Iterator[None]:
    twister._library.cache_clear()
    yield
    twister._library.cache_clear()


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("fault", ["numbers", "state", "size"])
def test_a_kernel_that_draws_anything_else_is_not_taken(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, g = available(), seeded()

    class Faulty(ctypes.CDLL):
        """A kernel that is wrong in one place."""

        def __init__(self) -> None:
            """Without a file."""

        lowland_widest, lowland_same = found.lowland_widest, found.lowland_same

        def lowland_state(self) -> int:
            return int(found.lowland_state()) + (fault == "size")

        def lowland_mersenne(self, *arguments: int) -> int:
            done = int(found.lowland_mersenne(*arguments))
            *_, to, _, out, n = arguments
            if fault == "numbers":
                ctypes.c_int32.from_address(out + 4 * (n - 1)).value ^= 1
            if fault == "state":
                ctypes.c_uint64.from_address(to + 24).value ^= 1
            return done

    monkeypatch.setattr(twister, "kernels", Faulty)
    assert not filled(torch.empty(MANY), Kind.NORMAL, g)
    drawn = _random.normal((MANY,), g, like=torch.empty(()))
    assert torch.equal(drawn, torch.randn(MANY, generator=seeded()))


@pytest.mark.usefixtures("untried")
def test_without_kernels_torch_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twister, "kernels", lambda: None)
    assert not filled(torch.empty(MANY), Kind.UNIFORM, seeded())
