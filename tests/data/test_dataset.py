import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowland._errors import DomainError, ShapeError
from lowland.data import Dataset


def numbered(n: int) -> Dataset:
    rows = torch.arange(n, dtype=torch.float32)
    return Dataset(
        torch.stack([rows, -rows], dim=1),
        x=rows.unsqueeze(1),
        labels=torch.arange(n),
        names=("up", "down"),
        kind="table",
        description="numbers",
        classes=tuple(map(str, range(n))),
    )


@given(n=st.integers(2, 40), fraction=st.floats(0.01, 0.95), seed=st.integers(0, 9))
def test_split_parts_are_disjoint_complete_and_keep_rows_together(
    n: int, fraction: float, seed: int
) -> None:
    count = max(1, round(fraction * n))
    if count >= n:
        return
    train, held_out = numbered(n).split(fraction, torch.Generator().manual_seed(seed))
    assert len(held_out) == count
    assert sorted([*train.labels.tolist(), *held_out.labels.tolist()]) == list(range(n))
    for part in (train, held_out):
        assert torch.equal(part.y[:, 0], part.labels.float())
        assert torch.equal(part.x[:, 0], part.labels.float())
        assert (part.names, part.kind, part.description) == (("up", "down"), "table", "numbers")


def test_split_shuffles_and_repeats_with_the_seed() -> None:
    first, again = (numbered(100).split(20, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first[0].y, again[0].y)
    assert first[0].labels.tolist() != sorted(first[0].labels.tolist())
    assert len(first[1]) == 20


@pytest.mark.parametrize("held_out", [0, 10, 11, -1, 0.0, 1.0, 1.5, 0.99, float("nan"), True])
def test_split_refuses_an_empty_part(held_out: float) -> None:
    with pytest.raises(DomainError, match=r"fraction in \(0, 1\) or a count from 1 to 9"):
        numbered(10).split(held_out)


def test_index_by_slice_positions_and_mask() -> None:
    data = numbered(6)
    assert data[::2].labels.tolist() == [0, 2, 4]
    assert data[torch.tensor([5, -6])].labels.tolist() == [5, 0]
    assert data.select(data.labels > 3).x.flatten().tolist() == [4.0, 5.0]
    assert data.event == (2,)
    assert len(data) == 6


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.tensor([6]), r"must lie in \[-6, 6\)"),
        (torch.tensor([-7]), r"must lie in \[-6, 6\)"),
        (torch.tensor([True]), "one entry for each of its 6"),
        (torch.tensor([1.0]), "int64 positions or of bool"),
        (torch.tensor(1), "must be 1-D"),
        (slice(6, 9), "selects none of the 6 items"),
        (torch.tensor([], dtype=torch.int64), "selects none"),
    ],
)
def test_bad_index(index: slice | torch.Tensor, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        numbered(6)[index]


@pytest.mark.wrong_types
def test_an_int_is_no_index() -> None:
    with pytest.raises(DomainError, match=r"a slice or a tensor of positions. Got 3"):
        numbered(6)[3]


def test_to_changes_floating_point_alone() -> None:
    data = numbered(3).to(torch.float64)
    assert (data.y.dtype, data.x.dtype, data.labels.dtype) == (
        torch.float64,
        torch.float64,
        torch.int64,
    )
    tokens = Dataset(torch.tensor([[1, 2]]), x=torch.tensor([4])).to(torch.float64)
    assert (tokens.y.dtype, tokens.x.dtype) == (torch.int64, torch.int64)
    with pytest.raises(DomainError, match=r"must be floating point. Got torch.int32"):
        data.to(torch.int32)


def test_nan_is_named_by_row_and_column() -> None:
    y = torch.zeros(20, 2)
    y[17, 1] = float("nan")
    y[18, 0] = float("inf")
    with pytest.raises(DomainError, match=r"Got nan at row 17, column 'age' \(2 such"):
        Dataset(y, names=("height", "age"))
    with pytest.raises(DomainError, match=r"Got nan at row 17, column 1"):
        Dataset(y)
    with pytest.raises(DomainError, match=r"'x' of Dataset must be finite. Got nan at row 17"):
        Dataset(torch.zeros(20), x=y)


def test_nan_in_an_image_and_in_a_series() -> None:
    image = torch.zeros(3, 1, 2, 2)
    image[1, 0, 1, 0] = float("-inf")
    with pytest.raises(DomainError, match=r"Got -inf at row 1, element \(0, 1, 0\)"):
        Dataset(image)
    with pytest.raises(DomainError, match=r"Got nan at row 2 \("):
        Dataset(torch.tensor([0.0, 1.0, float("nan")]))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty(shape: tuple[int, ...]) -> None:
    with pytest.raises(DomainError, match="'y' of Dataset is empty"):
        Dataset(torch.zeros(shape))


def test_a_single_number_has_no_items() -> None:
    with pytest.raises(ShapeError, match="must have shape"):
        Dataset(torch.tensor(1.0))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool, torch.complex64])
def test_wrong_dtype(dtype: torch.dtype) -> None:
    with pytest.raises(DomainError, match=rf"floating point, or int64.*Got {dtype}"):
        Dataset(torch.ones(3, dtype=dtype))


def test_lengths_must_agree() -> None:
    y = torch.zeros(4, 2)
    with pytest.raises(ShapeError, match=r"'x' of Dataset .* 4 items of y. Got shape \(3, 1\)"):
        Dataset(y, x=torch.zeros(3, 1))
    with pytest.raises(ShapeError, match=r"'labels' of Dataset .* Got shape \(5,\)"):
        Dataset(y, labels=torch.zeros(5, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"one class index .* labels.argmax"):
        Dataset(y, labels=torch.zeros(4, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"Got 1 name\(s\)"):
        Dataset(y, names=("only",))


def test_labels_are_int64_and_within_the_classes() -> None:
    with pytest.raises(DomainError, match=r"class indices, torch.int64. Got torch.float32"):
        Dataset(torch.zeros(2), labels=torch.zeros(2))
    with pytest.raises(DomainError, match=r"must lie in \[0, 2\)"):
        Dataset(torch.zeros(2), labels=torch.tensor([0, 2]), classes=("a", "b"))


def test_unknown_kind() -> None:
    with pytest.raises(DomainError, match=r"'kind' of Dataset must be one of.*Got 'movie'"):
        Dataset(torch.zeros(2), kind="movie")


def test_repr_is_short() -> None:
    assert repr(numbered(3)) == (
        "Dataset(3 × (2,) torch.float32, kind='table', x: (1,) torch.float32, 3 labels)"
    )
