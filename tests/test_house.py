"""The package as a whole: where imports point, how long things are, which words are used."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import watchconv

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(watchconv.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# the layers, top down; the modules of a package lie on its layer
LAYERS = [
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
PRINTING = ("cli", "commands", "__main__")
LONGEST_FUNCTION = 60
LONGEST_MODULE = 450
MOST_LINES = 22_300
MOST_MODULES = 152
MOST_NAMED_ONCE = 0.133  # of all functions: private ones that one place calls
MOST_PARAMETERS = 6  # of a constructor, beside self


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Import(NamedTuple):
    """One import: who, whom, in which line, and whether for annotations only."""

    module: str
    target: str
    line: int
    typing_only: bool


def name_of(path: Path) -> str:
    """Name a module within the package: ``intake.scan``; the package itself is ``""``."""
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


def layer_of(module: str) -> int:
    package = module.split(".", maxsplit=1)[0]
    return next(n for n, names in enumerate(LAYERS) if package in names)


def all_imports() -> list[Import]:
    return [found for path in MODULES for found in imports_of(path)]


def spot(found: Import) -> str:
    return f"{found.module}:{found.line} imports {found.target}"


# the walk itself


def test_every_module_has_its_layer() -> None:
    homeless = {m for m in KNOWN if not any(m.split(".")[0] in names for names in LAYERS)}

    assert homeless == set()
    assert {"intake.scan", "journal.jobs", "daemon.lifecycle", "encode.engine", ""} <= KNOWN


def test_the_map_in_the_package_names_every_package_in_this_order() -> None:
    """The docstring is what a stranger reads first."""
    packages = [name for names in LAYERS for name in names if name not in ("", "__main__")]
    heads = [text.strip().split("  ")[0] for text in (watchconv.__doc__ or "").splitlines()]
    drawn = [name for head in heads for name in head.split(", ") if name in packages]

    assert sorted(drawn, key=layer_of) == drawn
    assert sorted(drawn) == sorted(packages)


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
        and layer_of(target) < layer_of(found.module)
        and not (found.typing_only and target.split(".")[0] == "config")
    ]

    assert up == []


def test_no_two_modules_need_each_other() -> None:
    needs: dict[str, set[str]] = {name: set() for name in KNOWN}
    for found in all_imports():
        target = ours(found.target)
        if target is not None and not found.typing_only and target != found.module:
            needs[found.module].add(target)
    for name in KNOWN:  # a package's __init__ gathers its modules
        needs[name] -= {up for up in needs[name] if name.startswith(f"{up}.")}
    left = dict(needs)
    while free := [name for name, wanted in left.items() if not wanted & left.keys()]:
        for name in free:
            del left[name]

    assert left == {}


def test_the_shared_values_import_nothing_of_ours() -> None:
    found = [i for i in all_imports() if i.module in ("model", "errors", "")]

    assert [spot(i) for i in found if ours(i.target) is not None] == []


def test_only_the_probe_worker_decodes() -> None:
    found = {i.module for i in all_imports() if i.target.split(".")[0] == "av"}

    assert "media.probe_worker" in found
    child = {"probe_worker", "opening", "beginning", "duration", "reading"}
    child |= {"tracks", "shapes", "looking"}
    assert found - {f"media.{name}" for name in child} == set()


@pytest.mark.parametrize("name", ["rich", "yaml", "pydantic", "watchdog", "sqlite3"])
def test_each_dependency_is_used_in_one_package(name: str) -> None:
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
    if name_of(path).split(".")[0] in PRINTING:
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


def lines_of(path: Path) -> int:
    return len(path.read_bytes().splitlines())


def test_no_module_is_longer_than_one_sitting() -> None:
    lengths = {name_of(path): lines_of(path) for path in MODULES}

    assert {name: n for name, n in lengths.items() if n > LONGEST_MODULE} == {}


def test_the_package_stays_small() -> None:
    assert sum(map(lines_of, MODULES)) <= MOST_LINES


def test_the_modules_can_be_counted() -> None:
    assert len(MODULES) <= MOST_MODULES


def named_once(tree: ast.Module) -> list[str]:
    """Name the private functions that one place of their module names: satellites of a caller."""
    named = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, (ast.Name, ast.Attribute))
    )
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("_")
        and not node.name.startswith("__")
        and named[node.name] == 1
    ]


def test_few_private_functions_have_one_caller() -> None:
    """Some hide a thought; too many make a reader jump."""
    once = {name_of(path): named_once(tree_of(path)) for path in MODULES}
    functions = sum(len(list(functions_of(path))) for path in MODULES)

    assert sum(map(len, once.values())) / functions <= MOST_NAMED_ONCE


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_constructor_takes_everything(path: Path) -> None:
    wide = {
        f"__init__:{f.lineno}": many
        for f in functions_of(path)
        if f.name == "__init__"
        and (many := len([*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs]) - 1)
        > MOST_PARAMETERS
    }

    assert wide == {}


# what may have its attributes set


def made_in(function: ast.AST) -> set[str]:
    """Name what a function has made itself: by calling a class, or caught."""
    made = set()
    for node in ast.walk(function):
        pairs: list[tuple[ast.expr, ast.expr | None]] = []
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs += zip(target.elts, node.value.elts, strict=True)
                else:
                    pairs.append((target, node.value))
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
            pairs.append((node.target, node.value))
        elif isinstance(node, ast.ExceptHandler) and node.name:
            made.add(node.name)
        for target, value in pairs:
            if isinstance(target, ast.Name) and isinstance(value, ast.Call):
                name = ast.unparse(value.func).rpartition(".")[2].lstrip("_")
                if name[:1].isupper():
                    made.add(target.id)
    return made


def declared_by(node: ast.AST) -> set[str]:
    """Name the attributes that a class declares in its body or sets on itself."""
    if not isinstance(node, ast.ClassDef):
        return set()
    fields = {ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)}
    return fields | {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.ctx, ast.Store)
        and ast.unparse(part.value) == "self"
    }


def set_from_outside(tree: ast.Module) -> list[str]:
    """Find ``x.attribute = …`` where x is neither self nor cls, nor just made there.

    Allowed: settings of a whole process, such as ``sys.stdout``, what argparse is there to have
    set, what a class of the same module declares, for that is no outside, and PyAV's contexts,
    whose options are attributes.
    """
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    classes.add("argparse.Namespace")
    declared = {name for node in ast.walk(tree) for name in declared_by(node)}
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    found = set()
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            own = {
                a.arg
                for a in [*function.args.args, *function.args.kwonlyargs]
                if a.annotation and ast.unparse(a.annotation).strip("'\"") in classes
            }
            allowed = (
                {"self", "cls", "context", "self._context"} | modules | made_in(function) | own
            )
            found |= {
                f"{node.lineno} {ast.unparse(node)}"
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, (ast.Store, ast.Del))
                and ast.unparse(node.value) not in allowed
                and node.attr not in declared
            }
    return sorted(found, key=lambda line: int(line.split()[0]))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_set_on_an_object_from_outside(path: Path) -> None:
    """What a part needs it gets when it is made, or with a call."""
    assert set_from_outside(tree_of(path)) == []


def test_the_rule_about_attributes_sees_what_it_is_for() -> None:
    source = """
import sys
class Row:
    f: int
    def __init__(self):
        self.g = 1
def outside(given: Other, pair, row: Row):
    row.a = row.f = row.g = 1
    given.a = 1
    given.b.c += 1
    given.d, e = pair
def inside(self):
    self.a = 1
    made = Row(1)
    made.b = 2
    one, two = Row(), _Private()
    one.a = two.a = 3
    sys.stdout = None
    try:
        pass
    except OSError as error:
        error.filename = ""
"""
    assert set_from_outside(ast.parse(source)) == ["9 given.a", "10 given.b.c", "11 given.d"]


def test_the_median_function_is_short() -> None:
    lengths = sorted(
        (f.end_lineno or 0) - f.lineno + 1 for path in MODULES for f in functions_of(path)
    )

    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 9 // 10] <= 35


def public(tree: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Yield what has a public name, at the top of a module or in a class."""
    for node in ast.iter_child_nodes(tree):
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not any("overload" in ast.unparse(d) for d in node.decorator_list)
        ):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from public(node)


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


# as a part of a name: nobody knows what it does
EMPTY = ("manager", "handler", "helper", "util", "process_file", "do_")
# as a whole word of a name, a docstring or a comment: not a word of this field
METAPHORS = frozenset(
    {
        *("bell", "sieve", "ladder", "pulse", "house", "storey", "welcome", "vouch", "insist"),
        *("bury", "buried", "climb", "ears", "knock", "errand", "drawer", "doorman", "butler"),
        *("upkeep", "foresight", "outlet"),
    }
)
# as a word of a name: another one has this meaning here
ONE_MEANING = {"hurry": "force_exit", "prefetch": "warm", "enqueue": "add", "dequeue": "claim"}


def words_of(name: str) -> list[str]:
    """Split a name into its words: ``ScanLoop`` and ``scan_loop`` have the same."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def names_in(path: Path) -> list[str]:
    """List what a module names: itself, its functions, classes, parameters and attributes."""
    names = [path.stem]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            names.append(node.id if isinstance(node, ast.Name) else node.attr)
    return names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_names_say_what_things_are(path: Path) -> None:
    defined = [path.stem, *(node.name for node in public(tree_of(path)))]
    bad = [name for name in defined if any(word in name.lower() for word in EMPTY)]

    assert bad == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_one_word_has_one_meaning(path: Path) -> None:
    assert {name for name in names_in(path) if ONE_MEANING.keys() & set(words_of(name))} == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_metaphor_has_to_be_guessed(path: Path) -> None:
    """Neither in a name nor in what is said of it; what users read counts too."""
    found = []
    with path.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type in (tokenize.NAME, tokenize.COMMENT, tokenize.STRING):
                for piece in re.findall(r"\w+", token.string):
                    words = {w.removesuffix("s") for w in words_of(piece)} | {*words_of(piece)}
                    found += [f"{token.start[0]} {word}" for word in words & METAPHORS]

    assert found == []


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

    assert "watchconv.journal.jobs" in found
    assert found & {"asyncio", "rich", "av", "watchdog", "pydantic", "yaml"} == set()


def test_the_daemon_never_loads_what_only_its_children_need() -> None:
    found = loaded("-c", "import watchconv.daemon, watchconv.commands.run")

    assert "watchconv.daemon.lifecycle" in found
    assert found & {"av", "rich", "pydantic", "pydantic_core", "yaml", "_yaml"} == set()
