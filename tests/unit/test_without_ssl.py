"""The idle service does without Python's ssl; whoever needs it later has it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def outcome_of(program: str) -> str:
    """What a fresh interpreter prints; none of ours is left loaded in this one."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("name", ["psycopg2", "asyncio"])
def test_a_module_is_imported_without_ssl_which_works_afterwards(name: str) -> None:
    assert outcome_of(
        "import sys\n"
        "from kivitendo_task_server.without_ssl import import_without_ssl\n"
        f"import_without_ssl({name!r})\n"
        f"print({name!r} in sys.modules, 'ssl' in sys.modules)\n"
        "import smtplib, ssl, urllib.request\n"
        "ssl.create_default_context()\n"
        "print(smtplib.SMTP_SSL.__name__, urllib.request.HTTPSHandler.__name__)"
    ).splitlines() == ["True False", "SMTP_SSL HTTPSHandler"]


def test_ssl_that_is_loaded_stays() -> None:
    assert (
        outcome_of(
            "import ssl, sys\n"
            "from kivitendo_task_server.without_ssl import import_without_ssl\n"
            "import_without_ssl('asyncio')\n"
            "print(sys.modules['ssl'] is ssl, sys.modules['asyncio.base_events'].ssl is ssl)"
        )
        == "True True"
    )


def test_ssl_is_there_again_after_a_module_that_cannot_be_imported() -> None:
    assert (
        outcome_of(
            "from kivitendo_task_server.without_ssl import import_without_ssl\n"
            "try:\n"
            "    import_without_ssl('no_such_module')\n"
            "except ModuleNotFoundError as error:\n"
            "    print(error.name)\n"
            "import ssl"
        )
        == "no_such_module"
    )


def test_a_module_that_is_loaded_stays_as_it_is() -> None:
    assert (
        outcome_of(
            "import asyncio, sys\n"
            "from kivitendo_task_server.without_ssl import import_without_ssl\n"
            "import_without_ssl('asyncio')\n"
            "print(sys.modules['asyncio'] is asyncio, sys.modules['ssl'] is not None)"
        )
        == "True True"
    )
