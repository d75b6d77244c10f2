import torch
from sklearn.datasets import load_digits

from lowland.data import digits


def test_digits_are_scikit_learns() -> None:
    reference = load_digits()
    data = digits()
    assert data.y.shape == (1797, 1, 8, 8)
    assert data.y.dtype == torch.float32
    assert (data.y.min(), data.y.max()) == (0, 1)
    assert torch.equal(data.y[:, 0].double() * 16, torch.from_numpy(reference.images))
    assert data.labels is not None
    assert data.labels.tolist() == reference.target.tolist()
    assert (data.kind, data.classes) == ("image", tuple("0123456789"))
