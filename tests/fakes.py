"""An executable fake ffmpeg that behaves by a plan: copies, hangs, lies, floods or fails on order.

``write_fake(folder, {"pattern": "behaviour"})`` writes it and gives its path, for ``ffmpeg:`` in
a configuration (or as ``ffmpeg`` on PATH). The first pattern (shell style) that matches the
input's name decides; ``otherwise`` is for the rest. The plan is inside the program, for a confined
child may read nothing else. It answers ``-version`` and ``-encoders`` like ffmpeg.

=============== ====================================================================================
behaviour       what the encode does
=============== ====================================================================================
copy            gives the input's bytes as the output, with progress and closing lines; exit 0
slow:A-B        the same, but takes a random time between A and B seconds (``slow:A``: exactly A)
gate:FOLDER     the same, but ends when the folder holds a file with the input's name, one named
                ``all``, or one named ``JOB.RUN`` as its work directory
overrun:FOLDER  progress that runs far past the end of the input, then like gate
repeat          the same beat again and again, for ever
swell           an output that grows for ever
hang            one beat of progress and a started output, then nothing, for ever
mute            no beat, no word, no output, for ever
stubborn        like hang, and ignores TERM and INT
exit:N          half an output, an error on stderr, exit status N
signal:N        half an output, then dies of signal N
truncated       half of the bytes, the closing lines of the whole, exit 0
none            no output at all, exit 0
empty           an output of no bytes, exit 0
silent-film     like copy, and speaks of a sound track that the output has not
few-frames      like copy, and confesses that it encoded less than it decoded
argv            its arguments on stderr as JSON, exit 3
flood:N         N MB of stderr (``flood``: one), then like copy
deluge          50 MB of lines on stderr, exit 3
torrent         50 MB without a line break on both streams, then like copy
rewrites:S      like copy, but for S seconds it moves its output about without a word
late            like copy, but when all is said and done it does not end
frozen          like hang, and stops itself as SIGSTOP does: no TERM arrives
notes-term:FILE like hang, but notes in the file that it is ready, and when each TERM came
grandchild      like hang, with a child that holds its pipes and ignores TERM
leaves:FOLDER   like gate, with a child in its own group that lives for ever
escapes         like copy, with a child in a session of its own that lives for ever
heir            like copy, with a child that writes on into the output
hog             takes memory until there is no more; exit status 1
odd-words       words with tabs, escapes and bytes that are no UTF-8 on stderr, then like copy
eats:N          uses N MB of memory, and hangs
full            "No space left on device" on stderr, exit 1
full-while:FILE the same while the file exists, else like copy
=============== ====================================================================================

``frames`` is how many video packets the input has, for the closing lines; None: it prints none,
as an ffmpeg that tells nothing. The input must be a video with that many frames in one stream,
for the real probe reads it, and the output too.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENCODERS = ("libvpx", "libx264", "libx265", "libsvtav1", "libvorbis", "aac", "libopus")

_PROGRAM = """\
#!{python} -IS
PLAN = {plan!r}
OTHERWISE = {otherwise!r}
FRAMES = {frames!r}
ENCODERS = {encoders!r}
"""

_BODY = """
import fnmatch, json, os, random, signal, sys, time


def say(text):
    os.write(2, text.encode())


def beat(share, size, end=False):
    lines = {"frame": int(share * (FRAMES or 1)), "fps": "25.00", "total_size": int(share * size)}
    lines |= {"out_time_us": int(share * 1e6), "dup_frames": 0, "drop_frames": 0, "speed": "1.0x"}
    lines["progress"] = "end" if end else "continue"
    os.write(1, "".join(f"{k}={v}\\n" for k, v in lines.items()).encode())


def put(path, content):
    with open(path, "wb") as output:
        output.write(content)


def mapping():
    if FRAMES is not None:
        say("Stream mapping:\\n  Stream #0:0 -> #0:0 (vp8 (native) -> vp8 (libvpx))\\n")


def closing():
    if FRAMES is None:
        return
    n = FRAMES
    say(f"  Input stream #0:0 (video): {n} packets read (1 bytes); {n} frames decoded;\\n")
    say(f"  Output stream #0:0 (video): {n} frames encoded; {n} packets muxed (1 bytes);\\n")


def hang():
    while True:  # in short sleeps: Python runs no handler for a signal just before a long one
        time.sleep(0.05)


WHOLE = "copy slow gate overrun leaves escapes flood torrent rewrites late heir odd-words"
WHOLE = (*WHOLE.split(), "silent-film", "few-frames")


def wait_at_gate(folder, name, target):
    attempt = ".".join(os.path.dirname(target).split("/")[-2:])
    while not any(os.path.exists(f"{folder}/{key}") for key in (name, "all", attempt)):
        time.sleep(0.01)


def encode(source, target):
    name = os.path.basename(source)
    choice = next((b for p, b in PLAN.items() if fnmatch.fnmatchcase(name, p)), OTHERWISE)
    kind, _, value = choice.partition(":")
    if kind == "mute":
        hang()
    with open(source, "rb") as original:
        content = original.read()
    size, half = len(content), content[: len(content) // 2]
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    mapping()
    beat(0.1, size)
    if kind in ("leaves", "escapes") and os.fork() == 0:
        if kind == "escapes":
            os.setsid()
        hang()
    if kind == "grandchild" and os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        hang()
    if kind in ("hang", "stubborn", "frozen", "grandchild"):
        put(target, half)
        if kind == "frozen":
            os.kill(os.getpid(), signal.SIGSTOP)
        hang()
    if kind in OTHERS:
        return OTHERS[kind](content, target, value)
    if kind == "full-while":
        kind = "full" if os.path.exists(value) else "copy"
    if kind == "exit":
        put(target, half)
        say("Error: this fake fails on order\\n")
        return int(value)
    if kind == "signal":
        put(target, half)
        signal.signal(int(value), signal.SIG_DFL) if int(value) != signal.SIGKILL else None
        os.kill(os.getpid(), int(value))
        hang()
    if kind == "full":
        put(target, half)
        say("av_interleaved_write_frame(): No space left on device\\n")
        return 1
    if kind == "torrent":
        for _ in range(50 << 3):
            os.write(2, b"x" * (1 << 16))
            os.write(1, b"y" * (1 << 16))
        os.write(1, b"\\n")
    if kind == "flood":
        line = b"[fake @ 0x1] " + b"noise " * 19 + b"\\n"
        megabytes = int(value or 1)
        for number in range(megabytes):
            for _ in range((1 << 20) // len(line) + 1):
                os.write(2, line)
            beat(0.1 + 0.8 * number / megabytes, size)
    if kind == "odd-words":
        os.write(2, b"Svt[info]:\\t\\t: 0\\x1b[31m \\xff\\xc3 \\xe2\\x80\\xa8\\n" * 3)
        time.sleep(0.1)
    if kind == "slow":
        least, _, most = value.partition("-")
        left = steps = max(1, int(random.uniform(float(least), float(most or least)) / 0.02))
        put(target, half)
        while left:
            time.sleep(0.02)
            left -= 1
            beat(1 - 0.9 * left / steps, size)
    if kind in ("gate", "overrun", "leaves"):
        put(target, half)
        if kind == "overrun":
            for step in range(60):
                beat(0.1 * step, size)
                time.sleep(0.03)
        wait_at_gate(value, name, target)
    if kind == "truncated":
        put(target, half)
    elif kind == "empty":
        put(target, b"")
    elif kind != "none":
        assert kind in WHOLE, kind
        put(target, content)
    if kind == "rewrites":
        end = time.monotonic() + float(value)
        while time.monotonic() < end:
            time.sleep(0.05)
            put(target, content)
    if kind == "heir" and os.fork() == 0:
        with open(target, "ab", 0) as output:
            while True:
                output.write(b"more")
                time.sleep(0.001)
    beat(1, size, end=True)
    if kind == "few-frames":
        say(f"  Input stream #0:0 (video): {FRAMES} packets read (1 bytes);"
            f" {FRAMES} frames decoded;\\n")
        say("  Output stream #0:0 (video): 5 frames encoded; 5 packets muxed (1 bytes);\\n")
        return 0
    closing()
    if kind == "silent-film":
        say("  Output stream #0:1 (audio): 9 frames encoded (9 samples);"
            " 9 packets muxed (1 bytes);\\n")
    if kind == "late":
        hang()
    return 0


def argv(content, target, value):
    say("argv " + json.dumps(sys.argv[1:]) + "\\n")
    return 3


def repeat(content, target, value):
    while True:
        beat(0.5, len(content))
        time.sleep(0.02)


def swell(content, target, value):
    with open(target, "wb") as output:
        for step in range(1 << 20):
            output.write(b"x" * 65536)
            beat(0.1, step << 16)


def deluge(content, target, value):
    line = b"[fake @ 0x1] " + b"noise " * 19 + b"\\n"
    for _ in range((50 << 20) // len(line)):
        os.write(2, line)
    return 3


def notes_term(content, target, value):
    def note(*_):
        with open(value, "a") as notes:
            notes.write(f"TERM {time.monotonic()}\\n")

    signal.signal(signal.SIGTERM, note)
    with open(value, "a") as notes:
        notes.write("ready\\n")
    hang()


def hog(*_):
    taken = []
    try:
        while True:
            taken.append(bytearray(1 << 24))
    except MemoryError:
        taken.clear()
    say("Error while filtering: Cannot allocate memory\\n")
    return 1


def eats(content, target, value):
    held = bytearray(b"x" * (int(value) << 20))
    hang()


OTHERS = {
    "argv": argv, "repeat": repeat, "swell": swell, "deluge": deluge, "notes-term": notes_term,
    "hog": hog, "eats": eats,
}


def main(words):
    if "-version" in words:
        print("ffmpeg version 0.0-fake Copyright (c) nobody")
        return 0
    if "-encoders" in words:
        print("Encoders:\\n V..... = Video\\n ------")
        print("\\n".join(f" V....D {name:20} fake" for name in ENCODERS))
        return 0
    assert words[words.index("-progress") + 1] == "pipe:1", words
    source, target = words[words.index("-i") + 1], words[-1]
    assert source.startswith("file:/") and target.startswith("file:/"), words
    return encode(source[5:], target[5:])


sys.exit(main(sys.argv[1:]))
"""


def write_fake(
    folder: Path,
    plan: Mapping[str, str] | None = None,
    *,
    otherwise: str = "copy",
    frames: int | None = None,
) -> str:
    """Write the fake as ``folder/ffmpeg`` and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    head = _PROGRAM.format(
        python=os.path.realpath(sys.executable),
        plan=dict(plan or {}),
        otherwise=otherwise,
        frames=frames,
        encoders=ENCODERS,
    )
    path = folder / "ffmpeg"
    path.write_text(head + _BODY, encoding="utf-8")
    path.chmod(0o755)
    return str(path)
