import lowland as ll
from lowland.cli._names import energy_classes, kebab, strategy_classes
from lowland.train import Strategy


def test_every_public_energy_and_strategy_is_listed(run):
    result = run("list")
    assert result.exit_code == 0, result.output
    assert {cls.__name__ for cls in energy_classes().values()} == set(ll.energies.__all__)
    for name in [*energy_classes(), *strategy_classes()]:
        assert f"│ {name} " in result.output
    for cls in strategy_classes().values():
        assert issubclass(cls, Strategy)


def test_the_matrix_says_what_the_strategies_say(run):
    lines = run("list").output.partition("Which go together")[2].splitlines()
    rows = {cells[1].strip(): [c.strip() for c in cells[2:-1]] for cells in map(split, lines)}
    can = {
        name: {
            strategy
            for strategy, cell in zip(strategy_classes(), row, strict=True)
            if cell == "yes"
        }
        for name, row in rows.items()
        if len(row) == len(strategy_classes()) and set(row) <= {"yes", "·"}
    }
    anything = {"denoising-score-matching", "gradient-descent"}
    assert can["kmeans"] == {"coordinate-descent", "mini-batch"} | anything
    assert can["autoencoder"] == {"denoising"} | anything
    assert can["network"] == anything
    assert can["glo"] == {"learned-codes"} | anything
    assert can["gaussian-mixture"] >= {"expectation-maximization", "gradient-descent"}
    assert set(rows["ring"]) == {"·"}


def split(line: str) -> list[str]:
    cells = line.replace("┃", "│").split("│")
    return cells if len(cells) > 2 else ["", "", ""]


def test_names_are_kebab_case():
    names = {"KMeans": "kmeans", "LeastSquares": "least-squares", "PCA": "pca"}
    assert {name: kebab(name) for name in names} == names
