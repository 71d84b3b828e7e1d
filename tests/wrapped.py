"""A place whose daemon is started through another program, or patched."""

from __future__ import annotations

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
