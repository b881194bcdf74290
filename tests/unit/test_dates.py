"""Inputs that are dated in the future are refused before a job runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hardneg.errors import HardnegError
from hardneg.stages.dates import check_dates


def made(path: Path, ahead: float) -> str:
    path.write_text("x", encoding="utf-8")
    os.utime(path, (time.time() + ahead,) * 2)
    return str(path)


def test_what_is_dated_in_the_future_is_named(tmp_path: Path) -> None:
    inputs = [made(tmp_path / name, ahead) for name, ahead in (("a", -1e9), ("b", 90_000.0), ("c", 0.0), ("d", 500.0))]
    with pytest.raises(HardnegError, match=rf"where: +{tmp_path}/b, and 1 other input\n(?s:.*)touch"):
        check_dates(iter(inputs))
    with pytest.raises(HardnegError, match=rf"where: +{tmp_path}/b\n"):
        check_dates(inputs[:3])


def test_old_and_missing_inputs_are_no_fault(tmp_path: Path) -> None:
    check_dates([made(tmp_path / "a", -1e9), made(tmp_path / "b", 0.0), str(tmp_path / "missing")])
