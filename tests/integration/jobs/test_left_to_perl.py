"""Parts of native jobs that only an installation's own Perl has, with real Perl."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from stand_in import Kivitendo, kivitendo, kivitendo_databases  # noqa: F401

from kivitendo_task_server.jobs.data import parse_data
from kivitendo_task_server.jobs.interface import Job, JobResult
from kivitendo_task_server.jobs.self_test import SelfTest
from kivitendo_task_server.jobs.update_exchangerates import UpdateExchangerates

CLASS = """package SL::BackgroundJob::{name};
use parent 'SL::BackgroundJob::Base';
sub run {{ my ($self, $row) = @_; return 'Perl ran {name}: ' . join ',', sort keys %{{ $row->data_as_hash }} }}
1;
"""  # noqa: E501


def _add_class(directory: Path, name: str) -> None:
    file = directory.joinpath("SL/BackgroundJob", *name.split("::")).with_suffix(".pm")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(CLASS.format(name=name))


@pytest.mark.parametrize(
    ("job", "part", "data", "keys"),
    [
        (SelfTest, "Eigenes", "modules:\n  - Transactions\n  - Eigenes\n", "modules"),
        (
            UpdateExchangerates,
            "FromHausbank",
            "module: FromHausbank\noptions:\n  a: 1\n",
            "module,options",
        ),
    ],
)
def test_a_module_of_the_installation(
    kivitendo: Kivitendo,  # noqa: F811
    job: type[Job],
    part: str,
    data: str,
    keys: str,
) -> None:
    _add_class(kivitendo.directory, job.name)
    _add_class(kivitendo.directory, f"{job.name}::{part}")
    context = kivitendo.context(kivitendo.add_job(job.name, data), job.name, data)
    context.options = parse_data(data)
    assert job().run(context) == JobResult(f"Perl ran {job.name}: {keys}")


def test_not_if_the_native_job_is_demanded(kivitendo: Kivitendo) -> None:  # noqa: F811
    _add_class(kivitendo.directory, "SelfTest")
    _add_class(kivitendo.directory, "SelfTest::Eigenes")
    kivitendo.settings = replace(kivitendo.settings, runners={"SelfTest": "native"})
    context = kivitendo.context(kivitendo.add_job("SelfTest"), "SelfTest")
    context.options = {"modules": ["Eigenes"]}
    result = SelfTest().run(context)
    assert isinstance(result, JobResult)
    assert "Eigenes: there is no such module" in str(result.error)
