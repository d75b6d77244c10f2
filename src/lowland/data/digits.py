"""The real digits that scikit-learn carries."""

import torch

from lowland.data.dataset import Dataset


def digits() -> Dataset:
    """The 1,797 handwritten digits of 8×8 pixels bundled with scikit-learn.

    Returns:
        y of shape `(1797, 1, 8, 8)`, float32 from 0 (paper) to 1 (ink), labels 0 to 9.

    Reference:
        Optical Recognition of Handwritten Digits (Alpaydin & Kaynak, 1998),
        https://archive.ics.uci.edu/dataset/80

    Example:
        >>> digits()
        Dataset(1797 × (1, 8, 8) torch.float32, kind='image', 10 labels)
    """
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return Dataset(
        torch.tensor(bundle.images, dtype=torch.float32).unsqueeze(1) / 16,
        labels=torch.tensor(bundle.target, dtype=torch.int64),
        kind="image",
        description="handwritten digits, 8×8 pixels",
        classes=tuple("0123456789"),
    )
