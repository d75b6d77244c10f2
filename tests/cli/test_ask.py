import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import lowland as ll

MINE = """
import torch
from torch import nn

import lowland as ll


class MyEnergy(ll.Energy):
    def __init__(self, radii):
        super().__init__(event=(len(radii),))
        self.radii = nn.Parameter(radii.detach().clone())

    @classmethod
    def from_data(cls, y, *, x=None, generator=None, stretch=1.0):
        return cls(stretch * y.abs().amax(dim=0))

    def forward(self, y, *, x=None, z=None):
        return (torch.linalg.vector_norm(y / self.radii, dim=-1) - 1).square()
"""
ALL = {
    "score": "",
    "complete": "--observed y1 --n 2 --limit 3 --steps 50",
    "project": "--limit 3 --steps 30",
    "sample": "--count 4 --steps 5",
    "encode": "",
}


@pytest.fixture
def digits(run, folder) -> Path:
    result = run("fit digits --energy kmeans --set k=12 --steps 5 --held-out 40 --out digits")
    assert result.exit_code == 0, result.output
    return folder / "digits"


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def held_out() -> tuple[torch.Tensor, torch.Tensor]:
    y = ll.data.digits().y
    rows = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[:40]
    return rows, y[rows]


def test_score_is_of_the_held_out_digits(run, folder, digits):
    result = run("ask digits score --out scores.csv --picture odd.png")
    assert result.exit_code == 0, result.output
    rows, y = held_out()
    expected = ll.score(ll.load(digits), y)
    with (folder / "scores.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [int(line["row"]) for line in written] == rows.tolist()
    assert np.allclose([float(line["score"]) for line in written], expected.numpy())
    assert f"from {float(expected.min()):.4g} to {float(expected.max()):.4g}" in result.output
    assert str(int(rows[expected.argmax()])) in result.output
    assert (folder / "odd.png").stat().st_size > 1000


def test_complete_answers_as_the_library_does(run, folder, digits):
    line = "ask digits complete --observed left --n 3 --limit 4 --out a.npz --picture a.png"
    result = run(line)
    assert result.exit_code == 0, result.output
    y = held_out()[1][:4]
    left = ll.pretext.region("left", (1, 8, 8))
    expected = ll.complete(ll.load(digits), y, observed=left, n=3)
    written = arrays(folder / "a.npz")
    assert np.allclose(written["y"], expected.y.numpy(), equal_nan=True)
    assert np.allclose(written["energy"], expected.energy.numpy())
    assert (folder / "a.png").stat().st_size > 1000


def test_the_other_questions_answer_and_draw(run, folder, digits):
    energy, (_, y) = ll.load(digits), held_out()
    for line in ("project --limit 3", "sample --count 5 --beta 30 --seed 7", "encode --limit 6"):
        question = line.split()[0]
        result = run(f"ask digits {line} --out {question}.npz --picture {question}.png")
        assert result.exit_code == 0, result.output
        assert (folder / f"{question}.png").stat().st_size > 1000
    generator = torch.Generator().manual_seed(7)
    drawn = ll.sample(energy, 5, beta=30.0, generator=generator).last
    assert np.allclose(arrays(folder / "project.npz")["y"], ll.project(energy, y[:3]).numpy())
    assert np.allclose(arrays(folder / "sample.npz")["y"], drawn.numpy())
    features = arrays(folder / "encode.npz")["features"]
    assert np.allclose(features, ll.encode(energy, y[:6]).numpy())


def test_other_data_can_be_asked_about(run, folder, digits):
    np.save(folder / "dark.npy", np.zeros((3, 1, 8, 8)))
    result = run("ask digits score --data dark.npy --out dark.npz")
    assert result.exit_code == 0, result.output
    expected = ll.score(ll.load(digits), torch.zeros(3, 1, 8, 8))
    assert np.allclose(arrays(folder / "dark.npz")["score"], expected.numpy())
    wrong = run("ask digits score --data toy:moons")
    assert wrong.exit_code == 2
    assert "must have shape (*batch, 1, 8, 8)" in wrong.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("score --n 3", "score does not take --n; complete, predict does"),
        ("sample --limit 3", "sample does not take --limit"),
        ("encode --beta 2", "encode does not take --beta"),
        ("complete", "complete needs --observed"),
        ("complete --observed middle", "'observed' must be one of"),
        ("predict", "this run has no x"),
        ("score --out scores.txt", "'--out' must end in one of .npz, .csv"),
        ("score --out digits/run.json/a.csv", "cannot be written"),
        ("sample --beta 0", "'beta' of sample must be positive"),
    ],
)
def test_what_a_question_does_not_take_is_refused(run, digits, line, words):
    result = run(f"ask digits {line}")
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_run_with_x_predicts_whole_data(run, folder):
    run("fit digits --energy least-squares --given top --held-out 5 --out blurry")
    line = "ask blurry predict --n 1 --out p.npz --picture p.png"
    result = run(line)
    assert result.exit_code == 0, result.output
    whole = arrays(folder / "p.npz")["y"]
    assert whole.shape == (5, 1, 1, 8, 8)
    y = held_out()[1][:5].numpy()
    assert np.array_equal(whole[:, 0, :, :4], y[:, :, :4])
    for question in ("score", "encode", "project", "sample --count 2 --steps 3"):
        assert run(f"ask blurry {question}").exit_code == 0, question
    assert run("ask blurry sample --count 6").exit_code == 2


def test_anyones_energy_goes_through_every_verb(run, folder):
    (folder / "mymodule.py").write_text(MINE)
    line = (
        "fit toy:ellipse?n=200 --energy mymodule:MyEnergy --set stretch=1.2 --learning-rate 0.02 "
        "--strategy gradient-descent --steps 60 --out mine"
    )
    result = run(line)
    assert result.exit_code == 0, result.output
    assert "lowland ask mine score --energy mymodule:MyEnergy" in result.output
    for question, options in ALL.items():
        line = f"ask mine {question} {options} --out {question}.npz --energy mymodule:MyEnergy"
        result = run(line)
        assert result.exit_code == 0, result.output
        assert (folder / f"{question}.npz").is_file()
    result = run("show mine --energy mymodule:MyEnergy --picture surface.png")
    assert result.exit_code == 0, result.output
    assert "MyEnergy(radii=[" in result.output
    assert (folder / "surface.png").stat().st_size > 1000
    assert run("ask mine score --energy mymodule:None").exit_code == 2


def test_a_table_is_completed_by_the_names_of_its_columns(run, folder):
    rng = np.random.default_rng(0)
    age = rng.normal(40, 9, 80)
    rows = np.stack([np.arange(80), age, 100 * age], 1)
    np.savetxt(folder / "people.csv", rows, delimiter=",", header="id,age,income", comments="")
    assert run("fit people.csv --drop id --energy kmeans --set k=5 --out people").exit_code == 0
    result = run("ask people complete --observed age --n 1 --out answers.csv")
    assert result.exit_code == 0, result.output
    with (folder / "answers.csv").open() as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == 8
    for answer in answers:
        assert float(answer["age"]) == pytest.approx(age[int(answer["row"])], rel=1e-6)
    assert run("ask people score --data people.csv").exit_code == 0
    (folder / "people.csv").write_text("id,age,income\n1,2,3\n2,3,5\n")
    changed = run("ask people score")
    assert changed.exit_code == 2
    assert "its content has changed" in changed.stderr


def test_an_energy_saved_without_a_run_needs_data(run, folder):
    ll.save(ll.energies.Ring(), folder / "ring")
    result = run("ask ring score")
    assert result.exit_code == 2
    assert "--data SOURCE" in result.stderr
    assert run("ask ring score --data toy:ring?n=20").exit_code == 0
    assert run("show ring").exit_code == 0
