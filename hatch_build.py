"""Compiles the kernels of `lowland._native` where there is a C compiler; they are not required."""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-fPIC", "-shared")
FOLDER = Path("src", "lowland", "_native")
LIBRARY = "kernels.so"


def compiled(root: Path) -> bool:
    """Compile the kernels in the tree at `root`; whether that could be done."""
    compilers = [shlex.split(os.environ.get("CC", "")), ["cc"], ["gcc"], ["clang"]]
    folder = root / FOLDER
    sources = sorted(map(str, folder.glob("*.c")))
    for compiler in filter(None, compilers):
        command = [*compiler, *FLAGS, *sources, "-lm", "-o", str(folder / LIBRARY)]
        try:
            made = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:  # there is none, or it may not be run
            continue
        if made.returncode == 0:
            return True
        print(f"{shlex.join(command)} failed:\n{made.stderr}", file=sys.stderr)
    return False


class Kernels(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled kernels to a wheel or an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this platform if that could be done."""
        if sys.platform == "win32" or not compiled(Path(self.root)):
            print("Built without compiled kernels: K-means, sparse codes and samplers take longer.")
            return
        build_data["artifacts"].append(str(FOLDER / LIBRARY))
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
