"""Masked and joint-embedding energies from the command line, by their default strategies."""

import numpy as np

import lowland as ll


def test_images_are_fitted_completed_and_encoded(run, folder):
    made = run(
        "fit digits --energy masked-image --set width=16 --set depth=1 --steps 20 --held-out 30 "
        "--out run"
    )
    assert made.exit_code == 0, made.output
    assert "Masking(task=None" in made.output
    asked = run("ask run complete --observed left --n 1 --out filled.npz --picture filled.png")
    assert asked.exit_code == 0, asked.output
    assert (folder / "filled.png").stat().st_size > 1000
    with np.load(folder / "filled.npz") as file:
        filled, rows = file["y"], file["row"]
    truth = ll.data.digits().y.numpy()[rows]
    assert np.array_equal(filled[:, 0, :, :, :4], truth[:, :, :, :4])
    assert np.isfinite(filled).all()
    coded = run("ask run encode --out codes.npz")
    assert coded.exit_code == 0, coded.output
    with np.load(folder / "codes.npz") as file:
        assert file["features"].shape == (30, 17 * 16)


def test_a_joint_embedding_is_fitted_and_encoded(run, folder):
    made = run("fit digits --energy joint-embedding --steps 5 --held-out 30 --out run")
    assert made.exit_code == 0, made.output
    assert "VarianceCovariance" in made.output
    coded = run("ask run encode --out codes.npz")
    assert coded.exit_code == 0, coded.output
