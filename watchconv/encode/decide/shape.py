"""What a picture goes through beside its own treatment: its size, its rate, its animation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from watchconv.media.facts import HD_LINES, Chroma
from watchconv.model import WarningCause

if TYPE_CHECKING:
    from watchconv.encode.decide.part import Part
    from watchconv.encode.decision import Treatment
    from watchconv.encode.program import Ability
    from watchconv.media.facts import Track

_PALETTE = (
    "split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=bayer:bayer_scale=4"
)


def upright(track: Track) -> tuple[int, int]:
    """Return the size of a picture as a player shows it, the largest where sizes change."""
    width, height = track.largest or (track.width, track.height)
    return (height, width) if track.rotation % 180 else (width, height)


def fit(made: Treatment, most: int | None, fps: float | None) -> None:
    """Scale to a shorter side, and drop frames, once the fields are whole pictures."""
    at = sum(step.startswith("bwdif") for step in made.filters)
    steps = [f"fps={fps:g}"] if fps else []
    track = made.track
    size = upright(track)
    if most is not None and min(size) > most:
        width, height = (max(2, 2 * round(side * most / min(size) / 2)) for side in size)
        steps.append(f"scale={width}:{height}:flags=lanczos")
        made.changes.update({"width": width, "height": height, "sample_aspect": None})
        made.notes.append(f"scaled to {width}x{height}")
        if (
            track.height >= HD_LINES > height
            and not track.matrix
            and track.chroma is not Chroma.RGB
        ):
            # a player guesses by the size: what it guessed is said of the smaller picture
            made.filters.append("setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709")
    made.filters[at if not track.largest else len(made.filters) : 0] = steps


def even(made: Treatment, least: int) -> None:
    """Fill up with black what the encoder takes only in pairs; cutting would lose something."""
    sides = ("iw", "ih") if least == 2 else (rf"max(iw\,{least})", rf"max(ih\,{least})")
    made.filters.append("pad=" + ":".join(f"ceil({side}/2)*2" for side in sides))
    for name in ("width", "height"):
        side = made.changes.get(name)
        if isinstance(side, int) and side:
            made.changes[name] = max(least, side + side % 2)


def as_animation(made: Treatment, *, alpha: bool, palette: bool) -> None:
    """Make the RGB of a GIF or WebP, which have no tags and tell little else."""
    track = made.track
    if track.chroma is not Chroma.RGB and not track.matrix and track.height >= HD_LINES:
        made.filters.append("scale=in_color_matrix=bt709")
    if track.alpha and not alpha:  # opaque from here on
        made.filters.append("format=rgb24")
    if palette:
        made.options.pop("pix_fmt", None)
        made.filters.append(_PALETTE)
    free = ("bits", "chroma", "primaries", "transfer", "matrix", "sample_aspect", "title", "flags")
    made.changes.update(dict.fromkeys((*free, "language", "start_seconds", "alpha")))


def keep_dolby_vision(made: Treatment, encoder: str, ability: Ability) -> None:
    """Keep the Dolby Vision of a picture whose HDR is kept, where this encoder can."""
    able = {"libx265": ability.x265_dolby_vision, "libsvtav1": ability.svtav1_dolby_vision}
    if not (made.track.dolby_vision and made.track.is_hdr and able[encoder]):
        return
    if made.changes.get("transfer") == "bt709":  # it was tone-mapped
        return
    made.changes.update({"dolby_vision": True})
    made.withdraw(WarningCause.DOLBY_VISION)
    made.options.update({"dolbyvision": "1", "strict": "unofficial"})
    if encoder == "libx265":  # it wants to know the most that a buffer takes
        buffer = "vbv-maxrate=40000:vbv-bufsize=40000"
        own = made.options.get("x265-params")
        made.options["x265-params"] = f"{buffer}:{own}" if own else buffer


def without_captions(part: Part, encoder: str) -> Part:
    """Have an encoder write none of the captions that are in the pictures."""
    words = ("-a53cc:v:0", "0") if encoder in ("libx264", "libx265") else ()
    changes = {**part.decision.changes, "captions": False}
    return part._replace(
        decision=replace(part.decision, changes=changes),
        args=(*part.args, *words),
        warnings=tuple(w for w in part.warnings if w.cause is not WarningCause.CAPTIONS),
    )
