"""The picture: copied where the profile says so and it can be, else encoded as the profile says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from watchconv.config.contradictions import WITH_ALPHA
from watchconv.encode.decide.choice import unfit
from watchconv.encode.decide.encoders import formats_for, is_hardware, tell
from watchconv.encode.decide.part import Part, Unmet, copied, encoded, left_out
from watchconv.encode.decide.shape import (
    as_animation,
    even,
    fit,
    keep_dolby_vision,
    without_captions,
)
from watchconv.encode.picture import Target, no_copy, treat_picture, undisplayable
from watchconv.model import JobWarning, WarningCause

if TYPE_CHECKING:
    from watchconv.config.wish import Video, Wish
    from watchconv.encode.program import Ability
    from watchconv.media.facts import Facts, Track

_LEAST = {"libx265": 64, "libsvtav1": 64}  # they refuse smaller pictures, or abort on them
_GIF_RATE = 15.0


def decide_video(track: Track, facts: Facts, wish: Wish, ability: Ability, encoder: str) -> Part:
    """Decide about the picture that goes; encoder is the one of the profile whose turn it is.

    Raises Unmet for what this file cannot give.
    """
    hindrance = no_copy(track, f".{wish.container}", facts.demuxer, ability)
    if wish.video == "none":
        return left_out(track, "the profile wants no picture", None)
    if wish.video == "copy":
        if hindrance:
            raise Unmet(
                f"the picture cannot be copied: {hindrance};"
                " choose a profile of another container, or one that encodes"
            )
        return _copy(track, wish, "it is copied as it is")
    assert wish.video is not None, "without one, nothing is decided"
    if wish.video.copy_when is None:
        why = "the profile never copies it"
    elif not (
        why := "; ".join(unfit(track, wish.video.copy_when, wish.video, facts.demuxer))
        or hindrance
        or ""
    ):
        return _copy(track, wish, "it is right already and copied as it is")
    if refused := undisplayable(track, ability):
        raise Unmet(refused)
    part = _encode(track, wish.video, wish.container, ability, encoder, why)
    if track.captions and wish.subtitles.captions == "drop":
        return without_captions(part, encoder)
    return part


def _copy(track: Track, wish: Wish, why: str) -> Part:
    more: list[str] = []
    if wish.container in ("mp4", "mov") and track.codec == "hevc":
        more += ["-tag:v:0", "hvc1"]
    if not track.dolby_vision or wish.container == "mkv":
        return copied(track, 0, why, *more)
    if wish.container == "mp4":
        return copied(track, 0, why, *more, "-strict", "unofficial")
    part = copied(track, 0, why, *more)
    free = dict.fromkeys(("dolby_vision_profile", "dolby_vision_base"))
    changes = {**part.decision.changes, "dolby_vision": False, **free}
    text = f"{wish.container} does not keep Dolby Vision; its base remains"
    lost = (JobWarning(WarningCause.DOLBY_VISION, text),)
    return part._replace(decision=replace(part.decision, changes=changes), warnings=lost)


def _encode(
    track: Track, video: Video, container: str, ability: Ability, encoder: str, why: str
) -> Part:
    codec = video.codec
    holds_alpha = codec in WITH_ALPHA and container != "mp4" and video.alpha != "drop"
    alpha = track.alpha and holds_alpha
    fields = frozenset({"fields"} if video.deinterlace == "off" else ())
    target = Target(
        encoder,
        f".{container}",
        formats_for(encoder, video, alpha=alpha),
        fields,
        True if video.hdr == "tonemap" else None,
        double_rate=video.deinterlace == "double",
    )
    made = treat_picture(track, target, ability)
    if target.formats and "pix_fmt" not in made.options:  # nobody knows what it has
        made.options["pix_fmt"] = target.formats[0]
    fps = video.max_fps or (_GIF_RATE if codec == "gif" else None)
    is_limited = fps is not None and not (track.frame_rate and track.frame_rate <= fps * 1.001)
    fit(made, video.max_height, fps if is_limited else None)
    if codec in ("gif", "webp"):
        as_animation(made, alpha=alpha, palette=codec == "gif")
    elif codec not in ("ffv1", "prores", "dnxhr"):
        even(made, _LEAST.get(encoder, 2))
    if encoder in ("libx265", "libsvtav1"):
        keep_dolby_vision(made, encoder, ability)
    words = ["-fps_mode:v:0", "vfr"]
    takes_any = not (is_hardware(encoder) or codec in ("gif", "webp"))
    if takes_any:  # others count in frames: a time base of the original's is none for them
        words += ["-enc_time_base:v:0", ability.demux_time_base]
    words += tell(encoder, video, alpha=alpha)
    if codec == "hevc" and container in ("mp4", "mov"):
        words += ["-tag:v:0", "hvc1"]
    if own := made.options.pop("svtav1-params", None):
        words[-1] += f":{own}"
    part = encoded(made, 0, encoder, why, *words)
    doubled = track.interlaced and video.deinterlace == "double"
    is_exact = takes_any and not is_limited
    return part._replace(factor=(2.0 if doubled else 1.0) if is_exact else None)
