"""Imports point inward, and each third-party package stays where it belongs.

Read from the syntax trees, so that imports inside functions and behind TYPE_CHECKING count too.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "lowland"

# Innermost first. Modules of one layer are siblings, and siblings never import one another.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("_errors", "_modes", "_native", "_offers", "_version"),
    ("_random",),
    ("_recording", "_shapes"),
    ("latent", "domain", "_embedding", "_gibbs", "_masks", "_quantizing", "_restarts"),
    ("capabilities",),
    ("energy",),
    ("_border", "mixture", "scaling"),
    ("energies", "infer", "sample", "pretext", "data", "checkpoint"),
    ("train", "ask", "diagnose"),
    ("plot", "testing"),
    ("estimators",),
    ("cli",),
)
DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}

# Where a package may be imported, as dotted prefixes inside lowland; torch may be anywhere.
HOMES: dict[str, tuple[str, ...]] = {
    "numpy": ("data", "plot", "testing", "estimators", "cli"),
    "sklearn": ("data", "estimators", "cli"),
    "threadpoolctl": ("cli",),
    "safetensors": ("checkpoint", "energies._bert"),
    "arviz": ("sample.draws",),
    "narwhals": ("data",),
    "pandas": ("data",),
    "polars": ("data",),
    "pyarrow": ("data",),
    "PIL": ("data",),
    "tokenizers": ("data",),
    "matplotlib": ("plot", "cli.demo"),
    "rich": ("cli", "train.progress"),
    "typer": ("cli",),
}
# Slow to import, or behind an extra: inside functions only.
HEAVY = {"arviz", "sklearn", "pandas", "polars", "pyarrow", "PIL", "matplotlib", "tokenizers"}
# A class that derives from scikit-learn's must see it when the module is read.
HEAVY_AT_THE_TOP = {("sklearn", "estimators")}


class Import(NamedTuple):
    """One name that a module imports."""

    line: int
    target: str
    at_top: bool


def imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[Import]:
    """Everything that the module named `module` imports, relative names written out."""
    yield from _imports(tree, _package(module, is_package), at_top=True)


def _package(module: str, is_package: bool) -> list[str]:
    parts = module.split(".")
    return parts if is_package else parts[:-1]


def _imports(node: ast.AST, package: list[str], *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(child.lineno, alias.name, at_top)
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else []
            origin = ".".join([*base, *([child.module] if child.module else [])])
            for alias in child.names:
                yield Import(child.lineno, f"{origin}.{alias.name}", at_top)
        elif isinstance(child, ast.Call) and _imports_by_name(child):
            name = child.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield Import(child.lineno, name.value, at_top)
        runs_now = not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        ) and not _for_types_only(child)
        yield from _imports(child, package, at_top=at_top and runs_now)


def _imports_by_name(call: ast.Call) -> bool:
    return bool(call.args) and ast.unparse(call.func).split(".")[-1] in {
        "import_module",
        "__import__",
    }


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of `module` (such as "lowland.ask.score"), a line each."""
    here = module.removeprefix("lowland").lstrip(".")
    found = []
    for line, target, at_top in imports(ast.parse(source), module, is_package=is_package):
        top, _, inner = target.partition(".")
        if top == "lowland":
            reason = _inward(here, inner.split(".")[0])
        else:
            reason = _third_party(here, top, at_top=at_top)
        if reason:
            found.append(f"{module}:{line} imports {target}: {reason}")
    return found


def _inward(here: str, there: str) -> str | None:
    component = here.split(".")[0]
    if not component:
        return None
    if component not in DEPTH:
        return f"'{component}' has no layer; give it one in LAYERS"
    if there not in DEPTH:
        return "only cli may import the front door" if component != "cli" else None
    if component == there or DEPTH[there] < DEPTH[component]:
        return None
    if DEPTH[there] == DEPTH[component]:
        return f"'{component}' and '{there}' are siblings"
    return f"'{there}' is outside '{component}'"


def _third_party(here: str, package: str, *, at_top: bool) -> str | None:
    if package in sys.stdlib_module_names or package == "torch":
        return None
    homes = HOMES.get(package)
    if homes is None:
        return "not a dependency of lowland"
    if not any(here == home or here.startswith(f"{home}.") for home in homes):
        return f"{package} belongs in {', '.join(homes)} only"
    if at_top and package in HEAVY and (package, here.split(".")[0]) not in HEAVY_AT_THE_TOP:
        return f"{package} is imported inside functions only"
    return None


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), path


def test_imports_of_lowland_point_inward() -> None:
    found = [
        line
        for module, path in modules()
        for line in violations(
            path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py"
        )
    ]
    assert not found, "\n".join(found)


def test_every_module_has_a_layer() -> None:
    components = {module.split(".")[1] for module, _ in modules() if "." in module}
    assert len(components) > 5, f"only {components} were found in {SOURCE}"
    assert components <= set(DEPTH)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lowland._errors", "from lowland.latent import OneHot"),
        ("lowland.latent", "from lowland.domain import Real"),
        ("lowland.energies.kmeans", "from lowland.infer import infer"),
        ("lowland.energies.kmeans", "import lowland.infer.choose"),
        ("lowland.energies.kmeans", "def f():\n    from lowland.train import fit"),
        ("lowland.energies.kmeans", "if TYPE_CHECKING:\n    from lowland.train import fit"),
        ("lowland.energies.kmeans", "class A:\n    def f(self):\n        import lowland.ask"),
        ("lowland.energies.kmeans", "from lowland import infer"),
        ("lowland.energies.kmeans", "from ..train import fit"),
        ("lowland.energies.kmeans", "from .. import ask"),
        ("lowland.energies.kmeans", "importlib.import_module('lowland.train')"),
        ("lowland.energies.kmeans", "import numpy as np"),
        ("lowland.energies.kmeans", "try:\n    import scipy\nexcept ImportError:\n    pass"),
        ("lowland.train.fit", "from lowland.ask import score"),
        ("lowland.train.fit", "from rich.progress import Progress"),
        ("lowland.train.fit", "from lowland import fit"),
        ("lowland.plot", "import matplotlib.pyplot as plt"),
        ("lowland.data.tables", "import pandas as pd"),
        ("lowland.data.tables", "class A:\n    import pandas as pd"),
        ("lowland.cli.ask", "def f():\n    import matplotlib"),
        ("lowland.ask.score", "def f():\n    import sklearn"),
        ("lowland.novelty", "from lowland.energy import Energy"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lowland", "from lowland.energy import Energy\nfrom lowland.train import fit"),
        ("lowland._shapes", "from lowland._errors import ShapeError"),
        ("lowland.energies.kmeans", "import math\nimport torch\nfrom torch import nn"),
        ("lowland.energies.kmeans", "from lowland.energies._nearest import nearest"),
        ("lowland.energies.kmeans", "from ._nearest import nearest\nfrom ..energy import Energy"),
        ("lowland.train.fit", "from lowland.sample import Langevin"),
        ("lowland.train.progress", "from rich.progress import Progress"),
        ("lowland.plot.surfaces", "def f():\n    import matplotlib.pyplot as plt"),
        ("lowland.plot.surfaces", "if TYPE_CHECKING:\n    from matplotlib.axes import Axes"),
        ("lowland.data.tables", "def f():\n    import pandas as pd\n    import pyarrow"),
        ("lowland.estimators", "from sklearn.base import BaseEstimator"),
        ("lowland.cli.demo.report", "def f():\n    import matplotlib"),
        ("lowland.cli.fit", "import lowland\nfrom lowland import Energy\nimport typer"),
    ],
)
def test_a_right_import_is_let_be(module: str, source: str) -> None:
    assert violations(source, module) == []


def test_a_relative_import_in_a_package_starts_from_it() -> None:
    assert violations("from .choose import infer", "lowland.infer", is_package=True) == []
    assert violations("from .train import fit", "lowland", is_package=True) == []
    assert len(violations("from ..ask import score", "lowland.infer", is_package=True)) == 1
