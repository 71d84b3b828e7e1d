"""A place whose daemon is started through another program, patched, or lacks something."""

from __future__ import annotations

import os

from tests.daemon import Place


class WrappedPlace(Place):
    """A place whose daemon is started through something, or as a patched program."""

    before: tuple[str, ...] = ()
    patch = ""

    def command(self, *words: str | int) -> list[str]:
        """Give the argv of one command on this place."""
        argv = super().command(*words)
        if self.patch:
            cut = argv.index("-m")
            main = f"{self.patch}\nfrom watchconv.__main__ import main\nmain()"
            argv = [*argv[:cut], "-c", f"import sys\n{main}", *argv[cut + 2 :]]
        return [*self.before, *argv]


def without_seccomp(place: Place) -> None:
    """Let the program run where pyseccomp is not installed."""
    packages = place.root / "packages"
    packages.mkdir()
    (packages / "pyseccomp.py").write_text("raise ImportError('not here')\n")
    path = place.environment["PYTHONPATH"]
    place.environment["PYTHONPATH"] = f"{packages}{os.pathsep}{path}"
