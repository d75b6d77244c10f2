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


def test_the_table_says_what_the_strategies_say(run):
    lines = run("list").output.partition("Which go together")[2].splitlines()
    can: dict[str, str] = {}
    for _, name, suits, *_ in map(split, lines):
        if name.strip():
            last = name.strip()
        elif not suits.strip():
            continue
        can[last] = f"{can.get(last, '')} {suits.strip()}"
    found = {name: set(suits.strip().split(", ")) for name, suits in can.items()}
    known = set(strategy_classes())
    assert set().union(*(found[name] for name in energy_classes())) <= known | {"–"}
    slopes = {"denoising-score-matching", "equilibrium-matching", "gradient-descent"}
    assert found["kmeans"] >= {"coordinate-descent", "mini-batch"} | slopes
    assert not found["kmeans"] & {"denoising", "learned-codes", "ratio-matching"}
    assert found["autoencoder"] >= {"denoising"} | slopes
    assert found["network"] >= {"noise-contrastive", "score-matching", "margin"} | slopes
    assert not found["network"] & {"denoising", "coordinate-descent", "ratio-matching"}
    assert found["glo"] >= {"learned-codes"} | slopes
    assert "score-matching" not in found["glo"]
    assert found["gaussian-mixture"] >= {"expectation-maximization", "gradient-descent"}
    assert found["masked-tokens"] >= {"masking"}
    assert found["masked-image"] >= {"masking", "denoising"}
    assert found["next-frame"] >= {"free-energy-descent"}
    assert found["restricted-boltzmann"] >= {"ratio-matching", "minimum-probability-flow"}
    # Only what has no weights to learn is left without a strategy.
    assert {name for name in energy_classes() if found[name] == {"–"}} == {
        "double-well",
        "gaussian",
        "ring",
    }


def split(line: str) -> list[str]:
    cells = line.replace("┃", "│").split("│")
    return cells if len(cells) > 2 else ["", "", ""]


def test_names_are_kebab_case():
    names = {"KMeans": "kmeans", "LeastSquares": "least-squares", "PCA": "pca"}
    assert {name: kebab(name) for name in names} == names
