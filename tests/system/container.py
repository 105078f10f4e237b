"""Debian systems in containers: trees built once and kept, booted as often as needed.

A tree is built by mmdebstrap into ``$XDG_CACHE_HOME/kivitendo-task-server/trees``, under a name
that tells its suite and packages; it is never written to. A :class:`Container` is an overlay on a
tree with a life of its own, booted by systemd-nspawn without network, and rebooted without losing
what it wrote::

    with Container(tree(SYSTEMD_12)) as machine:
        machine.run("systemctl", "is-system-running")
        machine.reboot()
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_TIMEOUT = 90  # seconds
SIGRTMIN = signal.SIGRTMIN

Init = Literal["systemd", "sysvinit", "openrc"]

_INIT_PACKAGES: dict[Init, tuple[str, ...]] = {
    "systemd": ("systemd", "systemd-sysv", "dbus"),
    "sysvinit": ("sysvinit-core", "sysv-rc", "initscripts", "insserv", "startpar", "ifupdown"),
    "openrc": ("sysvinit-core", "openrc", "initscripts", "ifupdown"),
}

_serial = itertools.count(1)


class SetupError(Exception):
    """The machine cannot build or boot containers; the message says what is missing."""


@dataclass(frozen=True)
class Spec:
    """What a tree is made of."""

    suite: str
    init: Init
    packages: tuple[str, ...] = ()
    downloaded: tuple[str, ...] = ()
    """Packages that are not installed, but lie in /srv/downloaded with all they need."""

    @property
    def name(self) -> str:
        """Unique to the contents: the packages are told by a checksum."""
        text = " ".join([*self.all_packages(), *(f"({name})" for name in self.downloaded)])
        return f"{self.suite}-{self.init}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    def all_packages(self) -> list[str]:
        """The packages to install, those every tree has included."""
        common = ("init-system-helpers", "procps", "util-linux")
        return sorted({*common, *_INIT_PACKAGES[self.init], *self.packages})


def tree(spec: Spec) -> Path:
    """The directory of a tree; built if it is not there yet (about a minute)."""
    folder = cache() / "trees"
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / spec.name
    with (folder / f"{spec.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test processes may want it at once
        if not place.exists():
            _build(spec, place)
    return place


def cache() -> Path:
    """Where trees are kept from one test run to the next."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "kivitendo-task-server"


def _build(spec: Spec, place: Path) -> None:
    unfinished = place.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    built = subprocess.run(
        # with mounts of its own: if it is killed, they are gone as well
        ["unshare", "--mount", "mmdebstrap", "--variant=minbase",
         f"--include={','.join(spec.all_packages())}",
         "--aptopt=Acquire::Retries \"3\"", "--format=directory",
         *_customisation(spec), spec.suite, unfinished],
        env={"PATH": CLEAN_PATH, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if built.returncode != 0:
        raise SetupError(
            f"mmdebstrap could not build {spec.name}: " + "\n".join(built.stderr.splitlines()[-15:])
        )
    unfinished.rename(place)


def _customisation(spec: Spec) -> Iterator[str]:
    """What a container needs beyond the packages."""
    yield '--customize-hook=echo container >"$1/etc/hostname"'
    yield "--customize-hook=echo '127.0.0.1 localhost container' >\"$1/etc/hosts\""
    if spec.downloaded:
        yield '--customize-hook=rm -f "$1"/var/cache/apt/archives/*.deb'
        yield (
            '--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q -y --download-only'
            f" --no-install-recommends install {' '.join(spec.downloaded)}"
        )
        yield '--customize-hook=mkdir "$1/srv/downloaded"'
        yield '--customize-hook=mv "$1"/var/cache/apt/archives/*.deb "$1/srv/downloaded"'
    if spec.init != "systemd":
        # no terminals; the loopback interface must be brought up by the system itself
        yield "--customize-hook=sed -i 's/^[0-9]:.*getty/#&/' \"$1/etc/inittab\""
        yield "--customize-hook=printf 'auto lo\\niface lo inet loopback\\n'" \
            " >\"$1/etc/network/interfaces\""  # fmt: skip


@dataclass
class Container:
    """A system on an overlay of a tree; booted between ``with`` and its end."""

    base: Path
    name: str = ""
    _folder: Path = field(default_factory=Path)
    _nspawn: subprocess.Popen[bytes] | None = None
    _leader: int = 0

    @property
    def root(self) -> Path:
        """The root directory, as seen from outside."""
        return self._folder / "root"

    @property
    def init(self) -> str:
        """systemd, sysvinit or openrc."""
        return self.base.name.split("-")[1]

    def __enter__(self) -> Container:
        self.mount()
        try:
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.unmount()

    def mount(self) -> None:
        """Make the overlay, without booting it: enough for chroots."""
        self.name = f"kts-{os.getpid()}-{next(_serial)}"
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir()
        # a directory of the overlay has the mode of the upper one
        (self._folder / "upper").chmod(0o755)
        options = f"lowerdir={self.base},upperdir={self._folder}/upper,workdir={self._folder}/work"
        _run("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))

    def unmount(self) -> None:
        """Throw the overlay away."""
        subprocess.run(["umount", "--lazy", self.root], check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def boot(self) -> None:
        """Start the system and wait until its boot is over."""
        cgroups = " ".join(str(path) for path in _make_cgroups(self.name))
        script = f'for each in {cgroups}; do echo $$ >"$each/cgroup.procs"; done; exec "$@"'
        with (self._folder / "console.log").open("ab") as log:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", script, "sh", "systemd-nspawn", "-q", "-D", str(self.root),
                 "-M", self.name, "-b", "--private-network", "--register=no", "--keep-unit",
                 "--console=pipe", "--link-journal=no", "--resolv-conf=off", "--timezone=off"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": CLEAN_PATH}, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + BOOT_TIMEOUT
        while not self._is_up():
            if self._nspawn.poll() is not None or time.monotonic() > deadline:
                raise SetupError(f"{self.name} did not boot:\n{self.console()[-3000:]}")
            time.sleep(0.2)

    def console(self) -> str:
        """What the system has written to its console."""
        return (self._folder / "console.log").read_text(errors="replace")

    def reboot(self) -> None:
        """Reboot from inside, as an administrator does, and wait until it is up again."""
        command = ["systemctl", "reboot"] if self.init == "systemd" else ["shutdown", "-r", "now"]
        self.run(*command, check=False)
        self._await_end()
        self.boot()

    def stop(self) -> None:
        """Shut down properly; kill what does not."""
        if self._nspawn is None:
            return
        if self._nspawn.poll() is None:
            if self.init == "systemd" and self._leader:
                os.kill(self._leader, SIGRTMIN + 4)
            elif self._leader:
                self.run("shutdown", "-h", "now", check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(45)
        self._kill()

    def run(
        self,
        *argv: str,
        check: bool = True,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, in a clean environment, by default as root.

        Both outputs are captured. Raises AssertionError with them if it fails and ``check``.
        """
        return self._completed(
            self.command(*argv, user=user, environment=environment), check, options
        )

    def command(
        self, *argv: str, user: str | None = None, environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command as it is run from outside by :meth:`run`."""
        assignments = [f"{key}={value}" for key, value in (environment or {}).items()]
        inside = ["env", "-i", f"PATH={CLEAN_PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb",
                  *assignments]  # fmt: skip
        if user:
            inside += ["runuser", "-u", user, "--"]
        return [*self._enter(), *inside, *argv]

    def shell(self, script: str, **options: Any) -> str:
        """Run a shell script inside; its output. Options are those of :meth:`run`."""
        output: str = self.run("sh", "-ec", script, **options).stdout
        return output

    def chroot(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree without booting it (after :meth:`mount`)."""
        inside = ["env", "-i", f"PATH={CLEAN_PATH}", "LC_ALL=C.UTF-8", *argv]
        return self._completed(["chroot", str(self.root), *inside], check, {})

    def write(
        self, path: str, content: str | bytes, *, mode: int = 0o644, owner: str = "root"
    ) -> None:
        """Make a file inside, with the directories above it."""
        self.run("mkdir", "-p", str(Path(path).parent))
        data = content.encode() if isinstance(content, str) else content
        subprocess.run([*self._enter(), "dd", "status=none", f"of={path}"], input=data, check=True)
        self.run("chmod", f"{mode:o}", path)
        self.run("chown", owner, path)

    def files(self, *but: str) -> set[str]:
        """Every file, directory and link with its target, without those below ``but``."""
        excluded = ["/proc", "/sys", "/dev", "/run", "/tmp", *but]
        skip = " -o ".join(f"-path '{path}'" for path in excluded)
        found = self.shell(f"find / \\( {skip} \\) -prune -o -printf '%p %l\\n'")
        return {line.rstrip() for line in found.splitlines()}

    def _completed(
        self, argv: list[str], check: bool, options: dict[str, Any]
    ) -> subprocess.CompletedProcess[str]:
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=300,
            **options,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(
                f"{argv[-3:]} failed with status {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def _enter(self) -> list[str]:
        return ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        self._leader = _child_of(self._nspawn.pid)
        if not self._leader:
            return False
        if self.init == "systemd":
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            return state in ("running", "degraded")
        if self.init == "openrc":
            # the last of the runlevels has been entered, and nothing is being started any more
            level = self.run("rc-status", "--runlevel", check=False).stdout.strip()
            busy = self.run("pgrep", "-x", "openrc|rc", check=False).returncode == 0
            return level == "default" and not busy
        level = self.run("runlevel", check=False).stdout.strip()
        busy = self.run("pgrep", "-f", "/etc/init.d/rc|startpar", check=False).returncode == 0
        return level.endswith(" 2") and not busy

    def _await_end(self) -> None:
        assert self._nspawn is not None
        try:
            self._nspawn.wait(90)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not go down:\n{self.console()[-3000:]}"
            ) from None
        finally:
            self._kill()

    def _kill(self) -> None:
        """End what is left of the container, and remove its cgroups."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            if self._leader:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._leader, signal.SIGKILL)
            self._nspawn.kill()
            self._nspawn.wait()
        self._nspawn = None
        self._leader = 0
        _remove_cgroups(self.name)


def _child_of(pid: int) -> int:
    """The first process inside: the child of systemd-nspawn."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    for child in children:
        with contextlib.suppress(OSError):
            # not one of nspawn's own steps before it enters the namespaces
            if Path(f"/proc/{child}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
                return int(child)
    return 0


def _cgroup_roots() -> list[Path]:
    """Where a container can be given a cgroup of its own, in the old and the new hierarchy."""
    base = Path("/sys/fs/cgroup")
    if (base / "cgroup.procs").exists():
        return [base]
    return [path for path in (base / "systemd", base / "unified") if path.is_dir()]


def _make_cgroups(name: str) -> list[Path]:
    made = []
    for root in _cgroup_roots():
        (root / name).mkdir(exist_ok=True)
        made.append(root / name)
    return made


def _remove_cgroups(name: str) -> None:
    for root in _cgroup_roots():
        for path, _, _ in os.walk(root / name, topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"{' '.join(argv)}: {done.stderr.strip()}")
