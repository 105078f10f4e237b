"""The kivitendo installation on a host: directory, user, database, what the service writes.

As in :mod:`kivitendo_task_server.installer.host`, everything is looked up below a root directory,
and every finding carries its evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kivitendo_task_server.config.files import default_file, merged, read_file
from kivitendo_task_server.config.grammar import Entry
from kivitendo_task_server.config.location import (
    LOCAL_FILES,
    USUAL_PLACES,
    is_kivitendo_dir,
    present,
)
from kivitendo_task_server.config.settings import TaskServerSettings, load
from kivitendo_task_server.errors import ConfigurationError, NotInstalledError
from kivitendo_task_server.installer.accounts import Account, account, owner
from kivitendo_task_server.installer.host import Family, Finding, inside, place_of

LOCAL_HOSTS = frozenset({"", "localhost", "127.0.0.1", "::1"})

_WEB_USERS: dict[Family, tuple[str, ...]] = {
    "debian": ("www-data",),
    "redhat": ("apache", "nginx"),
    "suse": ("wwwrun",),
    "arch": ("http",),
}


@dataclass(frozen=True)
class Installation:
    """What the boot scripts and the units must know of kivitendo; paths as seen inside the root."""

    directory: Finding[str]
    user: Finding[Account]
    database_is_local: Finding[bool]
    default_instance: str | None
    """Name of the instance of kivitendo's own configuration file; None while there is none."""
    write_paths: tuple[str, ...]
    log_file: str
    sendmail: Finding[bool]
    """Whether mail goes through a sendmail program, which needs more rights."""
    stop_timeout: int
    """Seconds that stopping waits for running jobs."""
    problem: ConfigurationError | None
    """Why the configuration cannot be used yet."""


def examine(root: Path, directory: Finding[str], family: Family, run_as: str | None,
            remembered_user: str | None = None) -> Installation:  # fmt: skip
    """Find out about the installation in ``directory``.

    ``run_as`` is the user asked for, ``remembered_user`` the one of an earlier installation. Raises
    ConfigurationError if no user can be told.
    """
    place = place_of(root, directory.value)
    sections, keys, problem = _configuration(place)
    log_file = _below(root, directory.value, _text(sections, "debug", "file_name"))
    return Installation(
        directory=directory,
        user=_service_user(root, place, family, sections, run_as, remembered_user),
        database_is_local=_database_is_local(sections),
        default_instance=default_instance(place),
        write_paths=_write_paths(root, directory.value, sections, log_file),
        log_file=log_file or f"{directory.value}/users/kivitendo-debug.log",
        sendmail=_uses_sendmail(sections),
        stop_timeout=keys.stop_timeout,
        problem=problem,
    )


def find_directory(root: Path, option: str | None, remembered: str | None) -> Finding[str]:
    """The kivitendo directory: as told, as remembered from an earlier installation, or found.

    Raises NotInstalledError if there is none, ConfigurationError if there are several.
    """
    named = ((option, "--kivitendo-dir"), (remembered, "the setting of an earlier installation"))
    for value, evidence in named:
        if value is None:
            continue
        path = Path(value) if root != Path("/") else Path(value).absolute()
        if not path.is_absolute() or not is_kivitendo_dir(place_of(root, str(path))):
            raise NotInstalledError(
                "not a kivitendo directory: it has no config/kivitendo.conf.default",
                where=f"{value} ({evidence})",
                remedy="name kivitendo's directory with --kivitendo-dir",
            )
        return Finding(_printable(_without_parents(root, path)), evidence)
    return _search(root)


def _search(root: Path) -> Finding[str]:
    found: dict[Path, str] = {}
    for place in USUAL_PLACES:
        real = inside(root, str(place))
        if is_kivitendo_dir(real):
            found.setdefault(real, str(place))
    if not found:
        raise NotInstalledError(
            "no kivitendo directory found in the usual places: "
            + ", ".join(map(str, USUAL_PLACES)),
            where=str(root),
            remedy="install kivitendo first, or name its directory with --kivitendo-dir",
        )
    if len(found) > 1:
        raise ConfigurationError(
            "several kivitendo directories: " + ", ".join(found.values()),
            remedy="choose one with --kivitendo-dir",
        )
    (path,) = found.values()
    return Finding(path, "holds kivitendo's own files, in a usual place")


def default_instance(place: Path) -> str | None:
    """The name of the instance of kivitendo's own configuration: ``kivitendo``, ``lx_office``."""
    for name in LOCAL_FILES:
        if name.endswith(".conf") and present(place / name):
            return Path(name).stem
    return None


def _service_user(
    root: Path,
    place: Path,
    family: Family,
    sections: Mapping[str, Mapping[str, Entry]],
    run_as: str | None,
    remembered: str | None,
) -> Finding[Account]:
    """The user to run as: told, configured, remembered, the owner of users/, the web server's."""
    configured = sections.get("task_server", {}).get("run_as")
    told = (
        (run_as, "--run-as"),
        (configured.value if configured else None,
         f"{configured.where}: [task_server] run_as" if configured else ""),
        (remembered, "the setting of an earlier installation"),
    )  # fmt: skip
    if run_as and configured and configured.value not in ("", run_as):
        raise ConfigurationError(
            f"--run-as {run_as}: the configuration has the service run as {configured.value}",
            where=f"{configured.where}: [task_server] run_as",
            remedy="change it there, or leave out --run-as",
        )
    for name, evidence in told:
        if name:
            found = account(root, name) or Account(_user_name(name), None, None, name)
            if found.uid == 0:
                raise ConfigurationError(
                    f"the service must not run as {name}",
                    where=evidence,
                    remedy="name the user the web server runs as",
                )
            return Finding(found, evidence if found.uid is not None else f"{evidence}; is new")
    users = place / "users"
    if users.is_dir() and (uid := users.stat().st_uid) != 0:
        user = owner(root, uid)
        if user:
            return Finding(user, f"owns {users}")
    for name in _WEB_USERS[family]:
        web_user = account(root, name)
        if web_user:
            return Finding(web_user, "the web server's user on this distribution")
    raise ConfigurationError(
        f"no user to run as: {users} belongs to root, and there is no user"
        f" {' or '.join(_WEB_USERS[family])}",
        remedy="name the user the web server runs as with --run-as",
    )


def _user_name(name: str) -> str:
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigurationError(f"not a name of a user: {name!r}", where="--run-as")
    return name


def _configuration(
    place: Path,
) -> tuple[dict[str, dict[str, Entry]], TaskServerSettings, ConfigurationError | None]:
    """The merged text of the configuration as far as it can be read, and what is wrong with it.

    With the settings of ``[task_server]``, their defaults where something is wrong.
    """
    keys = TaskServerSettings()
    sections: dict[str, dict[str, Entry]] = {}
    try:
        defaults = read_file(default_file(place))
        sections = merged(defaults, defaults)
        name = default_instance(place)
        if name is None:
            return (
                sections,
                keys,
                ConfigurationError(
                    "kivitendo is not configured yet",
                    where=f"{place}/{LOCAL_FILES[0]}",
                    remedy="finish kivitendo's own set-up",
                ),
            )
        file = place / f"config/{name}.conf"
        sections = merged(defaults, read_file(file))
        keys = load(file, kivitendo_dir=place, environ={}).settings.task_server
    except ConfigurationError as error:
        return sections, keys, error
    return sections, keys, None


def _text(sections: Mapping[str, Mapping[str, Entry]], section: str, key: str) -> str:
    entry = sections.get(section, {}).get(key)
    return entry.value if entry else ""


def _database_is_local(sections: Mapping[str, Mapping[str, Entry]]) -> Finding[bool]:
    entry = sections.get("authentication/database", {}).get("host")
    if entry is None:
        return Finding(True, "no configuration yet; kivitendo's default is localhost")
    local = entry.value in LOCAL_HOSTS or entry.value.startswith("/")
    return Finding(local, f"{entry.where}: [authentication/database] host = {entry.value}")


def _uses_sendmail(sections: Mapping[str, Mapping[str, Entry]]) -> Finding[bool]:
    entry = sections.get("mail_delivery", {}).get("method")
    if entry is None:
        return Finding(False, "[mail_delivery] method is not set")
    return Finding(entry.value == "sendmail", f"{entry.where}: method = {entry.value}")


def _write_paths(
    root: Path, directory: str, sections: Mapping[str, Mapping[str, Entry]], log_file: str
) -> tuple[str, ...]:
    """Directories the jobs write to: users, spool, WebDAV, documents, the log file's."""
    paths = [
        f"{directory}/users",
        _below(root, directory, _text(sections, "paths", "userspath")),
        _below(root, directory, _text(sections, "paths", "spool") or "spool"),
        f"{directory}/webdav",
        _below(root, directory, _text(sections, "paths", "document_path")),
    ]
    if log_file and not log_file.startswith("/tmp/"):  # there the service has its own
        paths.append(str(Path(log_file).parent))
    return tuple(dict.fromkeys(_printable(path) for path in paths if path not in ("", "/")))


def _below(root: Path, directory: str, path: str) -> str:
    """An absolute path of what the configuration gives relative to kivitendo's directory."""
    if not path:
        return ""
    return _without_parents(root, Path(directory) / path).rstrip("/")


def _without_parents(root: Path, path: Path) -> str:
    """An absolute path inside the root without "..", which systemd refuses in units.

    Only then links are resolved: they may be meant to be switched.
    """
    if ".." not in path.parts:
        return str(path)
    return f"/{inside(root, str(path)).relative_to(root)}"


def _printable(path: str) -> str:
    """Refuse what could break out of a line of a unit or a script, however well it is quoted."""
    if not path.isprintable() or any(character in path for character in "\"'\\`$"):
        raise ConfigurationError(
            f"the path {path!r} has characters that boot scripts cannot hold",
            remedy="use a path without quotes, $, backslashes and control characters",
        )
    return path
