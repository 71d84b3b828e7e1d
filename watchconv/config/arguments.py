"""The arguments of a profile, as far as they can be judged without an ffmpeg.

What is refused can never work: it would be a second input or output, leave an option without its
value, or take what watchconv sets itself. What is doubtful is left to ffmpeg.
"""

from __future__ import annotations

import re
import shlex

from watchconv.config.problems import show

# What watchconv writes on every command line itself: these would answer its questions twice,
# silence the lines it reads, or hang a child on a terminal.
RESERVED = frozenset({"-y", "-n", "-v", "-loglevel", "-progress", "-nostdin", "-stdin", "-report"})
_FLAGS = frozenset({"-an", "-vn", "-sn", "-dn", "-shortest"})  # that take no value, for certain
_VALUED = re.compile(  # that take one, whatever it looks like
    r"-(?:map|c|codec|[vas]codec|b|q|qscale|vf|af|filter|filter_complex|lavfi|crf|preset|profile"
    r"|tune|r|s|t|to|ss|g|ac|ar|aspect|pix_fmt|f|metadata|movflags|fps_mode|vsync|tag)(?::.+)?"
)


def read_args(value: object) -> tuple[str, ...]:
    """Return arguments for ffmpeg, from a text that is split as a shell would, or a list.

    Raises ValueError with a sentence: what is wrong; what to write instead.
    """
    if isinstance(value, str):
        try:
            args = tuple(shlex.split(value))
        except ValueError as error:
            raise ValueError("a quote is not closed, or a \\ is the last character") from error
    elif isinstance(value, list | tuple):
        wrong = [item for item in value if not isinstance(item, str | int | float)]
        if wrong:
            raise ValueError(f"{show(wrong[0])} is no argument; write texts and numbers")
        args = tuple(map(str, value))
    else:
        raise ValueError(f"{show(value)} is no text; write arguments as a text or a list")
    for arg in args:
        if "\0" in arg:
            raise ValueError(f"{show(arg)} holds a NUL byte, which no argument can")
        if arg in RESERVED:
            raise ValueError(f"{arg} is set by watchconv itself; remove it (and its value)")
    _check_places(args)
    return args


def _check_places(args: tuple[str, ...]) -> None:
    """Refuse what does not stand between one input and one output."""
    option = ""  # the one that may take the word that comes next
    for arg in args:
        if _VALUED.fullmatch(option):
            option = ""
        elif arg == "-i":
            raise ValueError("-i names another input, and there is one only; remove it")
        elif arg.startswith("-") and arg != "-":
            option = "" if arg in _FLAGS else arg
        elif not option:
            raise ValueError(f"{show(arg)} would be another output; remove it, or write its option")
        else:
            option = ""
    if _VALUED.fullmatch(option):
        raise ValueError(f"{option} has no value; write one, or remove it")
