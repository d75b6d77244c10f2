"""How Sphinx builds the documentation."""

import re
from textwrap import indent

from sphinx.application import Sphinx

import lowland

project = "lowland"
author = "the lowland authors"
version = release = lowland.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
myst_enable_extensions = ["dollarmath", "tasklist"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "lowland"

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_admonition_for_examples = True
# Docstrings write `code`, as Markdown does.
default_role = "code"


def read_as_rst(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn the $$...$$ and the tables of a docstring into directives that Sphinx knows."""
    text = re.sub(
        r"^(?P<indent> *)\$\$(?P<formula>.+?)\$\$[.,]?$",
        lambda found: (
            f"\n{found['indent']}.. math::\n\n{found['indent']}   "
            + " ".join(found["formula"].split())
            + "\n"
        ),
        "\n".join(lines),
        flags=re.M | re.S,
    )
    text = re.sub(
        r"^( *\|.*\n?)+",
        lambda table: f"\n.. code-block:: text\n\n{indent(table[0], '   ')}\n",
        text,
        flags=re.M,
    )
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> None:
    """Let docstrings be read before napoleon reads their sections."""
    app.connect("autodoc-process-docstring", read_as_rst, priority=400)
