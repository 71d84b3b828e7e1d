"""What a profile makes of the real program: its arguments, and how much it asks for."""

from __future__ import annotations

import itertools
import json
import shlex
from typing import TYPE_CHECKING

from tests.daemon import Daemon, drop
from tests.fake_place import FakePlace, files_in

if TYPE_CHECKING:
    from pathlib import Path


def test_a_profile_decides_how_much_an_output_must_prove(tmp_path: Path, long_clip: Path) -> None:
    levels = {"nothing": "off", "streams": "streams", "everything": "full"}
    profiles = {
        name: {"suffix": ".mkv", "args": "-c:v libx264", "verify": level}
        for name, level in levels.items()
    }
    plan = {"half*": "truncated", "few*": "few-frames", "none*": "empty"}
    place = FakePlace(tmp_path / "videos", plan, profiles=profiles)
    names = {f"{profile}/{what}.mkv" for profile in levels for what in ("half", "few", "none")}
    for name in names:
        drop(long_clip, place.inbox / name)
    with Daemon(place):
        good = {"nothing/half.mkv", "nothing/few.mkv", "streams/few.mkv"}
        for name in names:
            place.wait_for(name, "done" if name in good else "failed")

        assert files_in(place.done) == good
        assert files_in(place.outbox) == good


def test_the_arguments_of_a_profile_reach_ffmpeg_as_they_are_written(
    tmp_path: Path, long_clip: Path
) -> None:
    args = [
        "-c:v",
        "libx264",
        "-metadata",
        "title=a 'b' $HOME \"c\" %03d",
        "-vf",
        "scale=w=32:h=-2",
    ]
    own = {"suffix": ".mkv", "args": args}
    place = FakePlace(tmp_path / "videos", otherwise="argv", profiles={"own": own}, profile="own")
    name = "-f concat:x 'y' %03d.mkv"
    with Daemon(place):
        drop(long_clip, place.inbox / name)
        place.wait_for(name, "failed")
    (said,) = [line for line in place.report(name) if line.startswith("argv ")]
    argv = json.loads(said.removeprefix("argv "))
    (told,) = [line for line in place.report(name) if line.startswith("command: ")]

    assert [place.ffmpeg, *argv] == shlex.split(told.removeprefix("command: "))
    at = argv.index("-i")
    assert argv[at + 1] == f"file:{place.inbox}/{name}"
    assert argv[at + 2 : at + 2 + len(args)] == args
    assert argv[-1] == f"file:{place.outbox}/.watchconv/1/1/output.mkv"
    before = argv[:at]
    options = dict(itertools.pairwise(before))
    assert (options["-protocol_whitelist"], options["-f"]) == ("file", "matroska")
    assert "matroska" in options["-format_whitelist"].split(",")
    assert {"hls", "concat", "image2", "dash"}.isdisjoint(options["-format_whitelist"].split(","))
    assert options["-progress"] == "pipe:1"
    assert "-nostdin" in before
    explained = place.say("explain", str(long_clip))
    assert shlex.join(args) in explained
