"""How a sound is encoded with its speakers where they were, and what of it is lost. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watchconv.encode.decision import Treatment
from watchconv.encode.holds import (
    CHANNELS,
    KBIT_PER_CHANNEL,
    LAYOUTS,
    MP4_KIN,
    RATES,
    codec_of,
    holds,
    nearest_layout,
)
from watchconv.model import WarningCause

if TYPE_CHECKING:
    from watchconv.media.facts import Track

_SOME_PACKETS = 5  # an AAC encoder's delay is at most 3
# comes back with the same speakers under another name
_RENAMED = frozenset({("aac", "6.1")})


class Sound(NamedTuple):
    """What a sound is encoded into.

    ``settled`` names what the profile's own words decide and nothing here may touch: filters,
    layout, rate, bits (per second).
    """

    encoder: str
    settled: frozenset[str] = frozenset()
    max_channels: int | None = None
    kbit_per_channel: int | None = None  # None: the encoder's usual


def no_copy(track: Track, suffix: str, demuxer: str) -> str | None:
    """Return why a sound cannot be copied as it is into a container; None where it can."""
    container = suffix.lstrip(".")
    if holds(suffix, "audio", track.codec) is False:
        return f"{container} does not hold {track.codec}"
    if demuxer == "mov" and suffix not in MP4_KIN and track.discarded > _SOME_PACKETS:
        return f"a copy in {container} would play what was cut away"
    return None


def is_silent(track: Track) -> bool:
    """Return whether a sound is only announced, and never sends anything."""
    sends = track.channels and track.samples != 0
    return track.kind == "audio" and track.decodable and not sends


def treat_sound(track: Track, sound: Sound) -> Treatment:
    """Return what encoding a sound takes."""
    made = Treatment(track)
    encoder, channels = sound.encoder, track.channels
    made.becomes(codec=codec_of(encoder), discarded=None, program=None, decodable=True)
    made.promise_nothing("samples", "bit_rate")
    layouts = LAYOUTS.get(encoder)
    if "filters" in sound.settled or "layout" in sound.settled or not layouts:
        made.promise_nothing("channels", "layout", "sample_rate")
    else:
        most = sound.max_channels or max(CHANNELS.values())
        fitting = tuple(name for name in layouts if CHANNELS[name] <= most) or ("mono",)
        layout, whole = nearest_layout(fitting, track.layout, channels)
        before = track.layout or f"{channels} channels"
        if channels > max(CHANNELS.values()):  # more than ffmpeg can mix
            firsts = "".join(f"|c{n}=c{n}" for n in range(CHANNELS[layout]))
            made.put(f"pan={layout}{firsts}")
        channels = CHANNELS[layout]
        is_renamed = (encoder, layout) in _RENAMED
        made.becomes(channels=channels, layout=None if is_renamed else layout)
        made.put(f"aformat=channel_layouts={layout}" + rate_words(made, sound))
        if not whole:
            what = f"its speakers ({before}) are mixed down to {layout}"
            made.warn(WarningCause.LAYOUT, what)
        elif layout != track.layout:
            made.notes.append(f"{before} as {layout}")
    kbit = sound.kbit_per_channel or KBIT_PER_CHANNEL.get(encoder)
    if kbit and channels and "bits" not in sound.settled:
        made.option("b", f"{kbit * channels}k")
    if encoder == "libopus" and 2 < channels <= 8:
        made.option("mapping_family", "1")  # without it surround masking is off
    return made


def rate_words(made: Treatment, sound: Sound) -> str:
    """Choose the next rate up that the encoder takes, and return it for ``aformat``."""
    rates, before = RATES.get(sound.encoder), made.track.sample_rate
    if not rates or not before or "rate" in sound.settled:
        made.promise_nothing("sample_rate")
        return ""
    rate = min((r for r in rates if r >= before), default=max(rates))
    made.becomes(sample_rate=rate)
    if rate < before:
        made.warn(WarningCause.SAMPLE_RATE, f"its {before} samples a second become {rate}")
    return f":sample_rates={rate}"
