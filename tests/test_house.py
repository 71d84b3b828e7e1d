"""The house: imports point down, each room keeps to its task, and a quick command stays quick."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import watchconv

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(watchconv.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# the storeys, top down; a package's rooms lie on its storey
STOREYS = [
    ("__main__",),
    ("cli", "commands"),
    ("daemon",),
    ("intake",),
    ("encode",),
    ("deliver",),
    ("media",),
    ("process",),
    ("journal",),
    ("config",),
    ("host",),
    ("logs",),
    ("policy", "views"),
    ("names",),
    ("model", "errors"),
    ("",),  # the package itself: its version
]
TALKERS = ("cli", "commands", "__main__")
LONGEST_FUNCTION = 60
LONGEST_MODULE = 450


class Import(NamedTuple):
    """One import: who, whom, in which line, and whether for annotations only."""

    module: str
    target: str
    line: int
    typing_only: bool


def name_of(path: Path) -> str:
    """Name a module within the package: ``intake.look``; the package itself is ``""``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def typing_only_lines(tree: ast.Module) -> set[int]:
    """Find the lines below ``if TYPE_CHECKING``."""
    return {
        inner.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for body in node.body
        for inner in ast.walk(body)
        if hasattr(inner, "lineno")
    }


def imports_of(path: Path) -> Iterator[Import]:
    """Yield every import, at the top, in functions and for annotations."""
    tree = tree_of(path)
    quiet = typing_only_lines(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in found:
            yield Import(name_of(path), target, node.lineno, node.lineno in quiet)


KNOWN = {name_of(path) for path in MODULES}


def ours(target: str) -> str | None:
    """Name the module of ours that an import reaches; None for one of others."""
    first, _, rest = target.partition(".")
    if first != "watchconv":
        return None
    while rest and rest not in KNOWN:
        rest = rest.rpartition(".")[0]
    return rest


def storey_of(module: str) -> int:
    room = module.split(".", maxsplit=1)[0]
    return next(n for n, rooms in enumerate(STOREYS) if room in rooms)


def all_imports() -> list[Import]:
    return [found for path in MODULES for found in imports_of(path)]


def spot(found: Import) -> str:
    return f"{found.module}:{found.line} imports {found.target}"


# the walk itself


def test_every_module_has_its_storey() -> None:
    homeless = {m for m in KNOWN if not any(m.split(".")[0] in rooms for rooms in STOREYS)}

    assert homeless == set()
    assert {"intake.scan", "journal.jobs", "daemon.lifecycle", "encode.engine", ""} <= KNOWN


def test_the_map_in_the_package_names_the_storeys_in_this_order() -> None:
    """The docstring is what a stranger reads first."""
    rooms_known = {room for rooms in STOREYS for room in rooms if room}
    heads = [text.strip().split("  ")[0] for text in (watchconv.__doc__ or "").splitlines()]
    drawn = [head.split(", ") for head in heads if head.split(",")[0] in rooms_known]
    numbers = [storey_of(room) for rooms in drawn for room in rooms]

    assert len(numbers) >= 12
    assert numbers == sorted(numbers)


def test_the_walk_sees_imports_wherever_they_stand() -> None:
    found = {(i.module, ours(i.target), i.typing_only) for i in all_imports()}

    assert ("intake.scan", "intake.settling", False) in found
    assert ("cli", "config", True) in found
    assert ("cli", "commands.install", False) in found
    assert ours("watchconv.journal.jobs.Journal") == "journal.jobs"
    assert ours("watchconv.__version__") == ""
    assert ours("os.path") is None


# the rules


def test_imports_point_down() -> None:
    up = [
        spot(found)
        for found in all_imports()
        if (target := ours(found.target)) is not None
        and storey_of(target) < storey_of(found.module)
        and not (found.typing_only and target.split(".")[0] == "config")
    ]

    assert up == []


def test_no_two_modules_need_each_other() -> None:
    needs: dict[str, set[str]] = {name: set() for name in KNOWN}
    for found in all_imports():
        target = ours(found.target)
        if target is not None and not found.typing_only and target != found.module:
            needs[found.module].add(target)
    for name in KNOWN:  # a package's own words gather its rooms
        needs[name] -= {up for up in needs[name] if name.startswith(f"{up}.")}
    left = dict(needs)
    while free := [name for name, wanted in left.items() if not wanted & left.keys()]:
        for name in free:
            del left[name]

    assert left == {}


def test_the_words_of_the_house_import_nothing_of_ours() -> None:
    found = [i for i in all_imports() if i.module in ("model", "errors", "")]

    assert [spot(i) for i in found if ours(i.target) is not None] == []


def test_only_the_probe_worker_decodes() -> None:
    found = {i.module for i in all_imports() if i.target.split(".")[0] == "av"}

    assert "media.probe_worker" in found
    assert found - {"media.probe_worker", "media.duration"} == set()


@pytest.mark.parametrize("name", ["rich", "yaml", "pydantic", "watchdog", "sqlite3"])
def test_each_part_of_others_has_its_rooms(name: str) -> None:
    homes = {
        "rich": ("commands",),
        "yaml": ("config",),
        "pydantic": ("config",),
        "watchdog": ("intake",),
        "sqlite3": ("journal.database",),
    }[name]
    found = [i for i in all_imports() if i.target.split(".")[0] == name and not i.typing_only]

    assert len(found) > 0
    assert [spot(i) for i in found if not i.module.startswith(homes)] == []


EXITS = {"sys.exit", "os._exit", "exit", "quit", "os.abort"}
PRINTS = {"print", "sys.stdout.write", "sys.stderr.write"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_commands_print_and_exit(path: Path) -> None:
    if name_of(path).split(".")[0] in TALKERS:
        return
    calls = [
        f"{name_of(path)}:{node.lineno} {ast.unparse(node)[:60]}"
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Call) and ast.unparse(node.func) in EXITS | PRINTS)
        or (isinstance(node, ast.Raise) and "SystemExit" in ast.unparse(node))
    ]

    assert calls == []


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_function_is_longer_than_a_screen(path: Path) -> None:
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions_of(path)}

    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}


def test_no_module_is_longer_than_one_sitting() -> None:
    lengths = {name_of(path): len(path.read_bytes().splitlines()) for path in MODULES}

    assert {name: n for name, n in lengths.items() if n > LONGEST_MODULE} == {}


def test_the_median_function_is_short() -> None:
    lengths = sorted(
        (f.end_lineno or 0) - f.lineno + 1 for path in MODULES for f in functions_of(path)
    )

    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 9 // 10] <= 35


def public(
    tree: ast.Module,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield what has a public name, wherever it stands."""
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not any("overload" in ast.unparse(d) for d in node.decorator_list)
        ):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_everything_public_says_what_it_does(path: Path) -> None:
    tree = tree_of(path)
    mute = [f"{n.name}:{n.lineno}" for n in public(tree) if not ast.get_docstring(n)]

    assert ast.get_docstring(tree)
    assert mute == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_function_is_annotated(path: Path) -> None:
    bare = [
        f"{f.name}:{f.lineno}"
        for f in functions_of(path)
        if f.returns is None
        or any(
            a.annotation is None
            for a in [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs]
            if a.arg not in ("self", "cls")
        )
    ]

    assert bare == []


FORBIDDEN = ("manager", "handler", "helper", "util", "process_file", "do_")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_names_say_what_things_are(path: Path) -> None:
    defined = [path.stem] + [
        node.name
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    bad = [name for name in defined if any(word in name.lower() for word in FORBIDDEN)]

    assert bad == []


# quick commands


def loaded(*argv: str) -> set[str]:
    """Run Python, and name the modules that it has loaded at its end."""
    child = subprocess.run(
        [sys.executable, "-X", "importtime", *argv],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        line.rpartition("|")[2].strip()
        for line in child.stderr.splitlines()
        if line.startswith("import time:")
    }


@pytest.mark.parametrize("name", ["status", "jobs", "control"])
def test_a_command_that_only_looks_loads_no_machinery(name: str) -> None:
    found = loaded("-c", f"import watchconv.commands.{name}")

    assert "watchconv.journal.jobs" in found
    assert found & {"asyncio", "rich", "av", "watchdog", "watchdog.events"} == set()


def test_the_version_loads_next_to_nothing() -> None:
    found = loaded("-m", "watchconv", "--version")

    assert "watchconv.cli" in found
    assert found & {"pydantic", "yaml", "asyncio", "rich", "av", "sqlite3", "watchdog"} == set()


def test_a_status_loads_no_machinery(tmp_path: Path) -> None:
    found = loaded("-m", "watchconv", "--root", str(tmp_path), "status", "--json")

    assert "watchconv.commands.format" in found
    assert found & {"asyncio", "rich", "av", "watchdog", "pydantic", "yaml"} == set()


def test_the_daemon_never_loads_what_only_its_children_need() -> None:
    found = loaded("-c", "import watchconv.daemon, watchconv.commands.run")

    assert "watchconv.daemon.lifecycle" in found
    assert found & {"av", "rich", "pydantic", "pydantic_core", "yaml", "_yaml"} == set()
