"""docs/jobs.md tells of every job, with its options and its schedule."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from kivitendo_task_server.jobs import registry
from kivitendo_task_server.jobs.options import option_name
from kivitendo_task_server.jobs.perl_jobs import PERL_JOBS

PAGE = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text(encoding="utf-8")


def _section(name: str) -> str:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |^---$)", PAGE, re.M | re.S)
    assert found is not None, f"no section on {name}"
    return found.group(1)


@pytest.mark.parametrize("name", sorted(registry.NATIVE))
def test_native_jobs(name: str) -> None:
    section = _section(name)
    kind = registry.job_class(name)
    assert kind is not None
    if kind.default_schedule is not None:
        assert (
            f"Schedule `{kind.default_schedule}`{', standard' if kind.standard else '.'}" in section
        )
    else:
        assert "No schedule of its own" in section
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.M))))
    if kind.Options is not None:
        assert documented == {option_name(option) for option in fields(kind.Options)}
        assert bool(documented) or "No options." in section


def test_perl_jobs() -> None:
    section = PAGE[PAGE.index("## Jobs of kivitendo's Perl") :]
    for name, facts in PERL_JOBS.items():
        assert name in section
        if facts.default_schedule:
            assert re.search(rf"{name}\s+\(`{re.escape(facts.default_schedule)}`", section)


def test_standard_jobs() -> None:
    found = re.search(r"\*\*Standard jobs\*\*.*?: (.*?)\.\n\n", PAGE, re.S)
    assert found is not None
    assert set(re.split(r",\s+", found.group(1))) == set(registry.standard_schedules())
