"""The sounds: which go, in which order, copied where the profile says so and encoded else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from watchconv.config.wish import Audio
from watchconv.encode.decide.choice import wanted_sounds
from watchconv.encode.decide.encoders import SOUND_ENCODERS
from watchconv.encode.decide.part import Part, copied, encoded, left_out
from watchconv.encode.holds import SOUND_INSTEAD
from watchconv.encode.sound import Sound, no_copy, treat_sound
from watchconv.model import JobWarning, WarningCause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.config.wish import Wish
    from watchconv.media.facts import Facts, Track

_KBIT = {"libvorbis": 64, "libmp3lame": 96, "ac3": 96, "eac3": 64}
_DEEP = ("pcm_s24", "pcm_s32", "pcm_f32", "pcm_f64", "pcm_bluray", "flac", "alac", "truehd", "mlp")


def decide_audio(sounds: Sequence[Track], facts: Facts, wish: Wish) -> list[Part]:
    """Decide about the sounds that can go, in the order of the output."""
    if wish.audio == "none":
        return [left_out(t, "the profile wants no sound", None) for t in sounds]
    if f".{wish.container}" not in SOUND_INSTEAD:
        return [left_out(t, f"{wish.container} holds no sound") for t in sounds]
    wanted, unwanted = list(sounds), list[Part]()
    stereo = None
    if isinstance(wish.audio, Audio):
        wanted, unwanted = wanted_sounds(wanted, wish.audio)
        stereo = wish.audio.also_stereo
    kept: list[Part] = []
    for track in wanted:
        kept.append(_decide(track, len(kept), facts, wish))
        if stereo and track is wanted[0] and track.channels > 2:
            encoder = SOUND_ENCODERS.get(stereo.codec, stereo.codec)
            sound = Sound(encoder, max_channels=2, kbit_per_channel=stereo.kbit_per_channel)
            part = _encode(track, 1, sound, "the profile wants it in stereo too")
            changes = {**part.decision.changes, "flags": None, "title": None}
            decision = replace(part.decision, changes=changes)
            args = (*part.args, "-disposition:a:1", "0")
            kept.append(part._replace(decision=decision, args=args))
    return kept + unwanted


def _decide(track: Track, ordinal: int, facts: Facts, wish: Wish) -> Part:
    suffix = f".{wish.container}"
    hindrance = no_copy(track, suffix, facts.demuxer)
    if not isinstance(wish.audio, Audio):
        if hindrance is None:
            return copied(track, ordinal, "it is copied as it is")
        encoder = SOUND_INSTEAD[suffix]
        part = _encode(track, ordinal, Sound(encoder), hindrance)
        text = f"sound {track.index} is encoded with {encoder} instead of copied: {hindrance}"
        told = JobWarning(WarningCause.TRACK_CONVERTED, text)
        return part._replace(warnings=(told, *part.warnings))
    audio = wish.audio
    if audio.copy_when is None:
        why = "the profile never copies it"
    elif track.codec not in audio.copy_when.codec:
        why = f"it is {track.codec}"
    elif hindrance is not None:
        why = hindrance
    elif audio.max_channels and track.channels > audio.max_channels:
        why = f"it has {track.channels} channels"
    else:
        return copied(track, ordinal, "it is right already and copied as it is")
    encoder = SOUND_ENCODERS.get(audio.codec, audio.codec)
    kbit = audio.kbit_per_channel or _KBIT.get(encoder)
    sound = Sound(encoder, max_channels=audio.max_channels, kbit_per_channel=kbit)
    return _encode(track, ordinal, sound, why)


def _encode(track: Track, ordinal: int, sound: Sound, why: str) -> Part:
    if sound.encoder == "pcm_s16le" and track.codec.startswith(_DEEP):
        sound = sound._replace(encoder="pcm_s24le")
    made = treat_sound(track, sound)
    if sound.max_channels and track.channels > sound.max_channels:
        # it is mixed down by the profile's own wish
        made.withdraw(WarningCause.LAYOUT)
        made.notes.append(f"mixed down to {made.changes.get('layout')}")
    return encoded(made, ordinal, sound.encoder, why)
