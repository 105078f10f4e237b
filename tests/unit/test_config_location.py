"""Finding kivitendo: the documented order, with real directories and links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kivitendo_task_server.config.location import (
    MARKS,
    USUAL_PLACES,
    Surroundings,
    configuration_file,
    is_kivitendo_dir,
    locate,
)
from kivitendo_task_server.errors import ConfigurationError, NotInstalledError, UsageError

NewKivitendo = Callable[..., Path]


@pytest.fixture
def new_kivitendo(tmp_path: Path) -> NewKivitendo:
    def make(name: str, mark: str = MARKS[0]) -> Path:
        directory = tmp_path / name
        (directory / mark).parent.mkdir(parents=True)
        (directory / mark).touch()
        return directory

    return make


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    """Surroundings in which nothing is found."""
    (tmp_path / "home").mkdir()
    return Surroundings(
        option=None,
        config_option=None,
        called_by="",
        cwd=tmp_path / "home",
        environ={},
        installer_file=tmp_path / "installer.conf",
        usual_places=(tmp_path / "usual",),
    )


@pytest.mark.parametrize("mark", MARKS)
def test_kivitendo_is_known_by_its_own_files(new_kivitendo: NewKivitendo, mark: str) -> None:
    assert is_kivitendo_dir(new_kivitendo("erp", mark))


def test_another_directory_is_not_kivitendo(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/kivitendo.conf").touch()
    assert not is_kivitendo_dir(tmp_path)


def test_the_order_of_the_places(
    new_kivitendo: NewKivitendo, around: Surroundings, tmp_path: Path
) -> None:
    """Each place is found once all before it are gone."""
    option, variable, installer = (new_kivitendo(name) for name in ("1", "2", "3"))
    by_config, by_command, usual = (new_kivitendo(name) for name in ("4", "5", "usual"))
    (around.cwd / "config").mkdir()
    (around.cwd / MARKS[0]).touch()
    around.installer_file.write_text(f"# written by the installer\nkivitendo_dir = {installer}\n")
    around = replace(
        around,
        option=str(option),
        environ={"KIVITENDO_DIR": str(variable)},
        config_option=str(by_config / "config/kivitendo.conf"),
        called_by=str(by_command / "scripts/task_server.pl"),
    )
    found = locate(around)
    assert (found.kivitendo_dir, found.rule) == (option, "--kivitendo-dir")
    around = replace(around, option=None)
    found = locate(around)
    assert (found.kivitendo_dir, found.rule) == (variable, "the environment variable KIVITENDO_DIR")
    around = replace(around, environ={})
    found = locate(around)
    assert (found.kivitendo_dir, found.rule) == (
        installer,
        f"the installer's setting in {around.installer_file}",
    )
    around.installer_file.unlink()
    found = locate(around)
    assert found.kivitendo_dir == by_config
    assert found.rule == f"the place of -c {by_config}/config/kivitendo.conf"
    around = replace(around, config_option=None)
    found = locate(around)
    assert found.kivitendo_dir == by_command
    assert found.rule == f"the path of the command, {by_command}/scripts/task_server.pl"
    around = replace(around, called_by="")
    found = locate(around)
    assert found.kivitendo_dir == around.cwd
    assert found.rule == f"the current directory, {around.cwd}"
    around = replace(around, cwd=tmp_path)
    found = locate(around)
    assert (found.kivitendo_dir, found.rule) == (usual, "the usual places")


@pytest.mark.parametrize("where", ["option", "variable", "installer"])
def test_a_named_directory_must_be_kivitendos(
    new_kivitendo: NewKivitendo, around: Surroundings, where: str
) -> None:
    """Never serve another installation than the one that was named."""
    new_kivitendo("usual")
    wrong = str(around.cwd)
    if where == "installer":
        around.installer_file.write_text(f"KIVITENDO_DIR='{wrong}'\n")
    else:
        around = replace(
            around,
            option=wrong if where == "option" else None,
            environ={"KIVITENDO_DIR": wrong} if where == "variable" else {},
        )
    with pytest.raises(NotInstalledError, match="not a kivitendo directory") as caught:
        locate(around)
    assert wrong in str(caught.value)


def test_not_found_lists_where_it_looked(around: Surroundings, tmp_path: Path) -> None:
    around = replace(around, config_option="/nowhere/x.conf", called_by="/usr/bin/k-t-s")
    with pytest.raises(NotInstalledError) as caught:
        locate(around)
    for place in ("/nowhere/x.conf", "/usr/bin/k-t-s", str(around.cwd), str(tmp_path / "usual")):
        assert place in str(caught.value)
    assert caught.value.exit_code == 5


def test_called_through_links(
    new_kivitendo: NewKivitendo, around: Surroundings, tmp_path: Path
) -> None:
    """link -> link in kivitendo's scripts -> program elsewhere, and a link to kivitendo itself."""
    kivitendo = new_kivitendo("erp")
    (kivitendo / "scripts").mkdir()
    program = tmp_path / "bin/kivitendo-task-server"
    program.parent.mkdir()
    program.touch(mode=0o755)
    (kivitendo / "scripts/task_server.pl").symlink_to("../../bin/kivitendo-task-server")
    outer = tmp_path / "rc.d-link"
    outer.symlink_to("erp/scripts/task_server.pl")
    assert locate(replace(around, called_by=str(outer))).kivitendo_dir == kivitendo
    (tmp_path / "www").symlink_to("erp")
    through = tmp_path / "www/scripts/task_server.pl"
    assert locate(replace(around, called_by=str(through))).kivitendo_dir == tmp_path / "www"


def test_called_by_name_through_the_search_path(
    new_kivitendo: NewKivitendo, around: Surroundings
) -> None:
    kivitendo = new_kivitendo("erp")
    (kivitendo / "venv/bin").mkdir(parents=True)
    (kivitendo / "venv/bin/kts").touch(mode=0o755)
    environ = {"PATH": f"/nowhere:{kivitendo}/venv/bin"}
    assert locate(replace(around, called_by="kts", environ=environ)).kivitendo_dir == kivitendo


def test_the_real_place_of_a_linked_configuration_file(
    new_kivitendo: NewKivitendo, around: Surroundings, tmp_path: Path
) -> None:
    kivitendo = new_kivitendo("erp")
    (kivitendo / "config/kivitendo.conf").touch()
    link = tmp_path / "k.conf"
    link.symlink_to(kivitendo / "config/kivitendo.conf")
    assert locate(replace(around, config_option=str(link))).kivitendo_dir == kivitendo
    relative = "../erp/config/kivitendo.conf"
    assert locate(replace(around, config_option=relative)).kivitendo_dir == kivitendo


@pytest.mark.parametrize("name", ["~nobody-of-this-name/erp", "x" * 5000, "/proc/1/root/erp"])
def test_odd_names_are_not_found(around: Surroundings, name: str) -> None:
    for changed in (
        replace(around, option=name),
        replace(around, config_option=name),
        replace(around, called_by=f"./{name}"),
    ):
        with pytest.raises(NotInstalledError):
            locate(changed)


def test_a_loop_of_links_is_not_found(around: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(NotInstalledError):
        locate(replace(around, called_by=str(tmp_path / "loop")))


def test_the_usual_places_are_absolute() -> None:
    assert Path("/var/www/kivitendo-erp") in USUAL_PLACES
    assert all(place.is_absolute() for place in USUAL_PLACES)


def test_configuration_file_without_option(new_kivitendo: NewKivitendo, tmp_path: Path) -> None:
    kivitendo = new_kivitendo("erp")
    found = []
    for name in ("kivitendo.conf.default", "lx_office.conf", "kivitendo.conf"):
        (kivitendo / "config" / name).touch()
        found.append(configuration_file(None, kivitendo_dir=kivitendo, cwd=tmp_path).name)
    assert found == ["kivitendo.conf.default", "lx_office.conf", "kivitendo.conf"]


def test_configuration_file_with_option(new_kivitendo: NewKivitendo, tmp_path: Path) -> None:
    """Relative to the kivitendo directory first, like the original; then to the caller's."""
    kivitendo = new_kivitendo("erp")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/a.conf").touch()
    found = configuration_file("config/a.conf", kivitendo_dir=kivitendo, cwd=tmp_path)
    assert found == tmp_path / "config/a.conf"
    (kivitendo / "config/a.conf").touch()
    found = configuration_file("config/a.conf", kivitendo_dir=kivitendo, cwd=tmp_path)
    assert found == kivitendo / "config/a.conf"
    absolute = str(tmp_path / "config/a.conf")
    assert configuration_file(absolute, kivitendo_dir=kivitendo, cwd=tmp_path) == Path(absolute)


def test_a_missing_configuration_file_is_an_error(
    new_kivitendo: NewKivitendo, tmp_path: Path
) -> None:
    """The original runs with the defaults alone (task-server.md, i.9)."""
    kivitendo = new_kivitendo("erp")
    with pytest.raises(ConfigurationError, match="does not exist") as caught:
        configuration_file("config/typo.conf", kivitendo_dir=kivitendo, cwd=tmp_path)
    assert str(kivitendo / "config/typo.conf") in str(caught.value)
    assert str(tmp_path / "config/typo.conf") in str(caught.value)
    with pytest.raises(UsageError):
        configuration_file("", kivitendo_dir=kivitendo, cwd=tmp_path)


def test_no_configuration_file_at_all(new_kivitendo: NewKivitendo, tmp_path: Path) -> None:
    kivitendo = new_kivitendo("erp", "SL/System/TaskServer.pm")
    with pytest.raises(ConfigurationError, match="no configuration file") as caught:
        configuration_file(None, kivitendo_dir=kivitendo, cwd=tmp_path)
    assert caught.value.remedy
