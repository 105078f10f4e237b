"""The PID file's name: kivitendo's for its own files, one for each file however it is spelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from kivitendo_task_server.daemon.piddirectory import path_for


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("k/config", "k/users", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("kivitendo.conf", "kivitendo.conf.default", "foo.conf"):
        (tmp_path / "k/config" / name).touch()
    (tmp_path / "etc/other.conf").touch()
    (tmp_path / "link-to-k").symlink_to("k")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("config/kivitendo.conf", "config.kivitendo.conf.pid"),
        ("config/kivitendo.conf.default", "config.kivitendo.conf.default.pid"),
        ("config/foo.conf", "config.foo.conf.pid"),
        ("./config/foo.conf", "config.foo.conf.pid"),
        ("config//foo.conf", "config.foo.conf.pid"),
        ("../k/config/foo.conf", "config.foo.conf.pid"),
        ("{root}/k/config/foo.conf", "config.foo.conf.pid"),
        ("{root}/link-to-k/config/foo.conf", "config.foo.conf.pid"),
        ("config/missing.conf", "config.missing.conf.pid"),
    ],
)
def test_one_name_for_every_spelling(root: Path, given: str, name: str) -> None:
    path = path_for(root / "k", Path(given.format(root=root)))
    assert path == root / "k/users/pid" / name


def test_the_installation_may_be_reached_through_a_link(root: Path) -> None:
    assert path_for(root / "link-to-k", Path("config/foo.conf")) == path_for(
        root / "k", Path("config/foo.conf")
    )


def test_a_file_elsewhere_is_named_by_its_real_path(root: Path) -> None:
    path = path_for(root / "k", root / "etc/other.conf")
    assert path.name == str(root.resolve() / "etc/other.conf").replace("/", ".") + ".pid"


def test_the_usual_file_keeps_its_name_when_it_is_a_link(root: Path) -> None:
    """Weakness 10: the original's name follows the link, and the web interface finds nothing."""
    usual = root / "k/config/kivitendo.conf"
    usual.unlink()
    usual.symlink_to("../../etc/other.conf")
    for spelling in ("config/kivitendo.conf", "../etc/other.conf", str(root / "etc/other.conf")):
        assert path_for(root / "k", Path(spelling)).name == "config.kivitendo.conf.pid"


def test_a_file_of_config_that_is_a_link_has_one_name_as_well(root: Path) -> None:
    (root / "k/config/bar.conf").symlink_to(root / "etc/other.conf")
    for spelling in ("config/bar.conf", str(root / "etc/other.conf")):
        assert path_for(root / "k", Path(spelling)).name == "config.bar.conf.pid"


def test_links_in_a_circle_hurt_nobody(root: Path) -> None:
    (root / "k/config/a-circle.conf").symlink_to("a-circle.conf")
    assert path_for(root / "k", Path("config/foo.conf")).name == "config.foo.conf.pid"
    circle = path_for(root / "k", Path("config/a-circle.conf"))
    assert circle.name == "config.a-circle.conf.pid"
