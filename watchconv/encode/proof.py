"""The proof of an output: all that was of the original is in it, or is named.

The output is read to its end, then the original; their counts, times, facts and pictures are
compared. Only the readings go to the probe worker; ``judge`` is pure.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from watchconv.encode.decision import Action, Decision
from watchconv.encode.kept import Broken
from watchconv.encode.look import Look, compare, moments_of, picture_changer
from watchconv.encode.plan import RESTARTING
from watchconv.encode.promises import broken, pairs_of
from watchconv.encode.receipt import facts_json, promises_json
from watchconv.encode.salvage import is_of_the_original, salvaged
from watchconv.encode.spans import Span, judge_spans
from watchconv.encode.verify import Asked, verify
from watchconv.media import BARE
from watchconv.media.facts import Examined, Track
from watchconv.media.probe_protocol import NoWorker, ProbeFailed
from watchconv.model import Broke, Cause, JobWarning, Rejected, Verify, WarningCause

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from watchconv.encode.ffmpeg_output import StreamCount, StreamCounts
    from watchconv.encode.plan import EncodePlan
    from watchconv.media.facts import Content, Facts, Picture
    from watchconv.media.probe import ProbeWorker
    from watchconv.process.stop import StopSignal

COVER_SECONDS = 1.0  # of sound beside a single picture
LARGE_GAP_SECONDS = 0.5
NEAR_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found of an output."""

    fault: Rejected | Broke | None = None
    warnings: tuple[JobWarning, ...] = ()
    is_proven: bool = False  # all that was asked could be proven
    original: Examined | None = None
    output: Examined | None = None
    spans: tuple[Span, ...] = ()  # of the tracks that are in both
    look: Look | None = None
    promises: tuple[dict[str, Any], ...] = ()
    anew: Facts | None = None  # of the original: what to plan it anew with …
    why: str = ""  # … and what was not known of it before

    def told(self) -> dict[str, Any]:
        """Return what goes into the receipt."""
        found: dict[str, Any] = {"is_proven": self.is_proven}
        if self.output:
            found["facts_out"] = facts_json(self.output.facts)
        found["promises"] = list(self.promises)
        if self.look:
            found["look"] = self.look._asdict()
        return found


class Case(NamedTuple):
    """One encode that ended well."""

    plan: EncodePlan
    media: Facts  # the original, as it was probed
    counts: StreamCounts | None  # None: ffmpeg printed no closing lines
    is_salvaged: bool = False  # of the original, what is there is enough
    lacks: str = ""  # why it is known not to be whole
    seconds: float = 0.0  # how far the encode came

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What became of each track; where ffmpeg chose, as its account says it."""
        return self.plan.decisions or tuple(decisions_of(self.counts))


class Readings:
    """Reads files through the probe worker for one proof."""

    def __init__(self, reader: ProbeWorker, sandbox: str, stop: StopSignal) -> None:
        self._reader, self._sandbox, self._stop = reader, sandbox, stop

    def prove(self, case: Case, output: int, output_bytes: int, original: int) -> Proof:
        """Prove an open output against its open original. Raises Stopped, NoWorker.

        Where the original cannot be read once more, the output is as good as it was, and unproven.
        """
        if case.plan.verify is Verify.OFF:
            lost = (_salvage(case, case.lacks, None),) if case.lacks else ()
            return Proof(warnings=case.plan.warnings + lost)
        try:
            made = self._examine(output, output_bytes)
        except NoWorker:
            raise
        except ProbeFailed as failed:
            reason = f"the output cannot be read back: {failed.reason}"
            return Proof(Broke(reason, cause=Cause.OUTPUT))
        if case.plan.verify is not Verify.FULL:
            return judge(case, made, None)
        try:
            there = self._examine(original, _size_of(original))
        except NoWorker:
            raise
        except ProbeFailed as failed:
            proof = judge(case, made, None)
            return _unproven(proof, f"the original could not be examined: {failed.reason}")
        proof = judge(case, made, there)
        return proof if proof.fault else self._look(case, proof, output, original)

    def _examine(self, descriptor: int, size: int) -> Examined:
        return self._reader.examine(descriptor, size, sandbox=self._sandbox, stop=self._stop)

    def _look(self, case: Case, proof: Proof, output: int, original: int) -> Proof:
        """Compare the pictures, where the plan does not make others of them on purpose."""
        assert proof.original and proof.output
        if case.plan.time_changer or picture_changer(case.plan.args):
            return proof
        span = next((s for s in proof.spans if s.track.kind == "video"), None)
        if span is None:
            return proof
        if not span.is_timed or span.before.steps_back:
            return _unproven(proof, "the pictures could not be compared: the clock begins anew")
        try:
            before = self._pictures(original, span.before)
            after = self._pictures(output, span.after)
        except NoWorker:
            raise
        except ProbeFailed as failed:
            return _unproven(proof, f"the pictures could not be compared: {failed.reason}")
        shown = next(t for t in proof.output.facts.tracks if t.index == span.after.index)
        is_mapped = span.track.is_hdr and not shown.is_hdr
        look = compare(before, after, is_tone_mapped=is_mapped)
        if look is None:
            return _unproven(proof, "the pictures could not be compared: none could be decoded")
        if look.is_right:
            return replace(proof, look=look)
        alike = f"{look.db:.1f} dB" if look.correlation is None else f"{look.correlation:.2f}"
        reason = f"the output shows other pictures than the original ({alike} at {look.at:.1f} s)"
        return replace(proof, look=look, fault=Rejected(reason, cause=Cause.OUTPUT))

    def _pictures(self, descriptor: int, content: Content) -> tuple[tuple[Picture, ...], ...]:
        moments = moments_of(content)
        found = self._reader.look(
            descriptor, content.index, moments, sandbox=self._sandbox, stop=self._stop
        )
        # where a moment is far behind a picture that stands alone, others than its own are seen
        return tuple(
            group if group and group[0].at <= moment + NEAR_SECONDS else ()
            for moment, group in zip(moments, found, strict=True)
        )


def judge(case: Case, made: Examined, there: Examined | None) -> Proof:
    """Judge counts, times and facts; there is the original, where it was examined. Pure."""
    plan = case.plan
    used = [d.track for d in case.decisions if d.ordinal is not None]
    rough = [c for c in there.contents if c.index in used] if there else []
    asked = Asked(
        plan.verify,
        plan.time_changer,
        plan.frame_factor,
        is_rough=case.is_salvaged or any(c.steps_back or c.corrupt for c in rough),
    )
    fault, told = verify(case.counts, case.media, made.contents, asked)
    warnings = [*plan.warnings, *told]
    facts = there.facts if there else case.media
    free = picture_changer(plan.args) is not None
    # what is wrong with the original says more than what became of it
    faults: list[Rejected | Broke | None] = [original_fault(case, there, made) if there else None]
    faults.append(fault)
    found = list(broken(case.decisions, facts, made.facts, keeps=plan.keeps, picture_is_free=free))
    found += undecodable_copies(case, facts, made)
    spans = tuple(spans_of(case, there, made)) if there else ()
    if not plan.time_changer:
        found += judge_spans(spans)
    for promise in found:
        if promise.cause is None:
            faults.append(Rejected(promise.text, cause=Cause.OUTPUT))
        else:
            warnings.append(JobWarning(promise.cause, promise.text))
    lacks = case.lacks
    if case.is_salvaged:
        lacks = lacks or next((f.reason for f in faults if f and is_of_the_original(f)), "")
        faults = [f for f in faults if f and not is_of_the_original(f)]
    if lacks:
        warnings.append(_salvage(case, lacks, made))
    worst = next((f for f in faults if f), None)
    promises = promises_json(case.decisions, facts, made.facts, plan.keeps)
    for span in spans:
        wanted, found_seconds = span.before.seconds, span.after.seconds
        what = f"{span.track.kind} track {span.track.index}: seconds"
        promises.append({"what": what, "wanted": wanted, "found": found_seconds})
    proof = Proof(worst, original=there, output=made, spans=spans, promises=tuple(promises))
    late = missed(case, there)
    for name in late.values():
        text = f"{name} begins in the middle of the file and is left out"
        warnings.append(JobWarning(WarningCause.TRACK_LEFT_OUT, text))
    causes = {warning.cause for warning in warnings}
    better, why = better_known(case, there, late) if there else (None, "")
    return replace(
        proof,
        anew=better,
        why=why,
        warnings=tuple(dict.fromkeys(warnings)),
        is_proven=there is not None
        and plan.verify is Verify.FULL
        and not causes & {WarningCause.UNPROVEN, WarningCause.SALVAGED},
    )


def _unproven(proof: Proof, text: str) -> Proof:
    warning = JobWarning(WarningCause.UNPROVEN, text)
    return replace(proof, warnings=(*proof.warnings, warning), is_proven=False)


def _salvage(case: Case, lacks: str, made: Examined | None) -> JobWarning:
    duplicated = case.counts.duplicated if case.counts else 0
    return salvaged(lacks, made.contents if made else (), case.seconds, duplicated)


def decisions_of(counts: StreamCounts | None) -> Iterator[Decision]:
    """Say what an ffmpeg that chose by itself did with the tracks: by the account it gave."""
    if counts is None:
        return
    last = max(count.file for count in counts.outputs)
    of_kind: dict[str, list[StreamCount]] = {}
    for count in sorted(counts.outputs):
        if count.file == last:
            of_kind.setdefault(count.kind, []).append(count)
    places = {
        count[:2]: (ordinal, count)
        for found in of_kind.values()
        for ordinal, count in enumerate(found)
    }
    for source, place in counts.routes:
        if source[0] == 0 and place in places:
            ordinal, count = places[place]
            is_copied = count.frames is None
            action = Action.COPY if is_copied else Action.ENCODE
            yield Decision(
                source[1],
                count.kind,
                action,
                "ffmpeg chose it",
                ordinal,
                {} if is_copied else _ANYTHING,
            )


_ANYTHING = dict.fromkeys(field.name for field in fields(Track))


def better_known(case: Case, there: Examined, late: dict[int, str]) -> tuple[Facts | None, str]:
    """Return what a better plan is made of, where there is one, and why it is better."""
    known = {track.index for track in there.facts.tracks}
    found = {index: name for index, name in late.items() if index in known}
    used = {d.track for d in case.decisions if d.ordinal is not None}
    restarts = max((c.steps_back for c in there.contents if c.index in used), default=0)
    is_new = restarts > 0 == case.media.clock_restarts and there.facts.demuxer in RESTARTING
    if not found and not is_new:
        return None, ""
    why = [f"it holds {name}, which begins in its middle" for name in found.values()]
    why += ["its clock begins anew"] * is_new
    # what the plan rests on was measured with more of the file at hand
    facts = replace(
        case.media,
        tracks=case.media.tracks + tuple(t for t in there.facts.tracks if t.index in found),
        probe_bytes=max(case.media.probe_bytes, there.facts.probe_bytes),
        clock_restarts=restarts,
    )
    return facts, ", and ".join(why)


def missed(case: Case, there: Examined | None) -> dict[int, str]:
    """Return the tracks that only begin in the original's middle, so that nobody asked for them."""
    if not case.plan.decisions:  # the profile itself says which ones go
        return {}
    late = (
        {index: f"{kind} track {index}" for index, kind in case.counts.met} if case.counts else {}
    )
    for track, content in _zipped(there) if there else ():
        if content.packets:
            late[track.index] = f"{track.kind} track {track.index} ({track.codec})"
    known = {track.index for track in case.media.tracks}
    return {index: name for index, name in late.items() if index not in known}


def spans_of(case: Case, there: Examined, made: Examined) -> list[Span]:
    """Return the tracks that are in both, with how much of them was of no use."""
    before = {content.index: content for content in there.contents}
    after = {content.index: content for content in made.contents}
    read = {c.stream: c for c in case.counts.inputs if c.file == 0} if case.counts else {}
    written = {c.stream: c for c in case.counts.outputs} if case.counts else {}
    found = []
    for pair in pairs_of(case.decisions, there.facts, made.facts):
        if isinstance(pair, Broken):
            continue
        source, target = pair.before.index, pair.after.index
        count, unused = read.get(source), 0
        if count and pair.is_copied and target in written:
            unused = count.packets - written[target].packets
        elif count and count.frames is not None and pair.before.kind == "video":
            unused = count.packets - count.frames + count.errors
        elif count:
            unused = count.errors
        found.append(Span(pair.before, before[source], after[target], max(0, unused)))
    return found


def undecodable_copies(case: Case, facts: Facts, made: Examined) -> Iterator[Broken]:
    """Yield the copied tracks that nothing can play."""
    decodes = {content.index: content.decodes or not content.packets for content in made.contents}
    for pair in pairs_of(case.decisions, facts, made.facts):
        if isinstance(pair, Broken) or not pair.is_copied or decodes[pair.after.index]:
            continue
        if pair.before.decodable:
            yield Broken(f"{pair.name} ({pair.before.codec}) does not decode in the output")
        else:
            text = f"{pair.name} ({pair.before.codec}) is copied, and nothing here can decode it"
            yield Broken(text, WarningCause.UNPROVEN)


def original_fault(case: Case, there: Examined, made: Examined) -> Rejected | None:
    """Return what is wrong with the original itself, that its encode does not show."""
    used = {d.track: d for d in case.decisions if d.ordinal is not None}
    return damage(there, used) or no_film(there, made, used)


def damage(there: Examined, used: Container[int]) -> Rejected | None:
    """Return what of the tracks that are used was damaged, or never written."""
    contents = [c for c in there.contents if c.index in used and not c.codec.startswith(BARE)]
    for content in contents:
        if content.kind in ("video", "audio") and content.corrupt * 10 > content.packets > 3:
            reason = f"{content.corrupt:,} of {content.packets:,} packets are damaged or zeros"
            text = f"{content.kind} track {content.index} is not whole: {reason}"
            return Rejected(text, cause=Cause.DAMAGED)
    holes = [c for c in contents if c.corrupt or any(_is_large(gap.seconds) for gap in c.gaps)]
    if there.zeros and holes:
        at, size = max(there.zeros, key=lambda run: run[1])
        reason = f"{size:,} bytes from byte {at:,} on were never written"
        return Rejected(f"the file is not whole: {reason}", cause=Cause.TRUNCATED)
    return None


def _is_large(seconds: float) -> bool:
    return seconds >= LARGE_GAP_SECONDS


def no_film(there: Examined, made: Examined, used: dict[int, Decision]) -> Rejected | None:
    """Return what an output is instead of a film: a picture with sound, or one without its own."""
    kinds: dict[str, list[Content]] = {"video": [], "audio": []}
    for content in made.contents:
        kinds.setdefault(content.kind, []).append(content)
    sound = max((content.seconds for content in kinds["audio"]), default=0.0)
    if max((c.packets for c in kinds["video"]), default=0) == 1 and sound >= COVER_SECONDS:
        reason = f"a single picture stands beside {sound:.1f} s of sound: a cover, and no film"
        return Rejected(reason, cause=Cause.NOT_VIDEO)
    sounds = [(t, c) for t, c in _zipped(there) if t.kind == "audio" and c.packets]
    if sounds and not kinds["audio"] and not any(t.decodable for t, _ in sounds):
        names = ", ".join(sorted({t.codec for t, _ in sounds}))
        reason = f"its only sound ({names}) cannot be decoded, and the film would be silent"
        return Rejected(reason, cause=Cause.UNSUPPORTED)
    return None


def _zipped(there: Examined) -> Iterator[tuple[Track, Content]]:
    return zip(there.facts.tracks, there.contents, strict=True)


def _size_of(descriptor: int) -> int:
    return os.fstat(descriptor).st_size
