"""Threads for encoders that share the cores."""

from __future__ import annotations

import pytest

from watchconv.config.profiles import BUILTIN
from watchconv.encode.threads import thread_args


def test_vp8_shares_the_cores_while_others_run() -> None:
    args = BUILTIN["webm"].args

    assert thread_args(args, cores=2, running=2) == ["-threads:v", "1"]
    assert thread_args(args, cores=16, running=3) == ["-threads:v", "5"]
    assert thread_args(args, cores=2, running=5) == ["-threads:v", "1"]


def test_vp8_alone_keeps_its_default() -> None:
    assert thread_args(BUILTIN["webm"].args, cores=8, running=1) == []


@pytest.mark.parametrize("name", ["mp4", "hevc", "av1", "remux"])
def test_encoders_that_do_not_profit_keep_their_default(name: str) -> None:
    assert thread_args(BUILTIN[name].args, cores=8, running=4) == []


def test_vp9_keeps_its_default() -> None:
    assert thread_args(["-c:v", "libvpx-vp9"], cores=8, running=4) == []


@pytest.mark.parametrize("option", ["-threads", "-threads:v"])
def test_the_threads_of_a_profile_win(option: str) -> None:
    assert thread_args(["-c:v", "libvpx", option, "3"], cores=8, running=4) == []
