"""The watcher on real files: every way an editor, an administrator or a deployment changes one."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kivitendo_task_server import log
from kivitendo_task_server.config.current import CurrentConfiguration, watched_files
from kivitendo_task_server.config.settings import load
from kivitendo_task_server.config.watched import watch_points
from kivitendo_task_server.config.watcher import Watcher

PATIENCE = 30  # seconds until a test gives up; nothing is measured

Operation = Callable[[Path], object]


class Observed:
    """Counts the calls of a watcher, and remembers what the file held at the last one."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.calls = 0
        self.content: str | None = None
        self._called = asyncio.Event()

    def on_change(self) -> None:
        self.calls += 1
        self.content = self.file.read_text() if self.file.exists() else None
        self._called.set()

    async def next_change(self) -> None:
        await asyncio.wait_for(self._called.wait(), PATIENCE)
        self._called.clear()

    async def until(self, content: str | None) -> None:
        """Wait for a change after which the file holds this."""
        await self.next_change()
        while self.content != content:
            await self.next_change()


@asynccontextmanager
async def watching(*files: Path, debounce: float = 0.05) -> AsyncIterator[tuple[Watcher, Observed]]:
    observed = Observed(files[0])
    watcher = Watcher(files, observed.on_change, debounce=debounce, poll_interval=0.05)
    watcher.start()
    try:
        yield watcher, observed
    finally:
        watcher.close()


@pytest.fixture(params=["inotify", "polling"])
def polling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With inotify, and on a machine without pyinotify."""
    if request.param == "polling":
        monkeypatch.setitem(sys.modules, "pyinotify", None)
    return bool(request.param == "polling")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """erp/config/kivitendo.conf, where erp is a link, as is the directory config."""
    (tmp_path / "erp-4.1/etc").mkdir(parents=True)
    (tmp_path / "erp-4.1/config").symlink_to("etc")
    (tmp_path / "erp").symlink_to("erp-4.1")
    file = tmp_path / "erp/config/kivitendo.conf"
    file.write_text("old")
    return file


def rename_over(file: Path) -> None:
    """What vim and most others do."""
    temporary = file.with_name(".kivitendo.conf.swp")
    temporary.write_text("new")
    temporary.rename(file)


def keep_a_backup(file: Path) -> None:
    """What emacs does: the old file becomes file~, a new one is written."""
    file.rename(file.with_name("kivitendo.conf~"))
    file.write_text("new")


def write_in_place(file: Path) -> None:
    with file.open("r+") as opened:
        opened.write("new")


def become_a_link(file: Path) -> None:
    elsewhere = file.parents[2] / "elsewhere.conf"
    elsewhere.write_text("new")
    file.unlink()
    file.symlink_to(elsewhere)


def switch_the_release(file: Path) -> None:
    """A link of a directory above is switched, as deployments do."""
    base = file.parents[2]
    (base / "erp-4.2/config").mkdir(parents=True)
    (base / "erp-4.2/config/kivitendo.conf").write_text("new")
    (base / "erp.new").symlink_to("erp-4.2")
    (base / "erp.new").rename(base / "erp")


def replace_the_directory(file: Path) -> None:
    directory = file.parent.resolve()
    directory.rename(directory.with_name("etc.old"))
    directory.mkdir()
    file.write_text("new")


def remove_and_make_the_directory(file: Path) -> None:
    directory = file.parent.resolve()
    shutil.rmtree(directory)
    directory.mkdir()
    file.write_text("new")


def hard_link_over(file: Path) -> None:
    other = file.with_name("other")
    other.write_text("new")
    file.unlink()
    file.hardlink_to(other)


@pytest.mark.parametrize(
    "operation",
    [
        rename_over,
        keep_a_backup,
        write_in_place,
        become_a_link,
        switch_the_release,
        replace_the_directory,
        remove_and_make_the_directory,
        hard_link_over,
    ],
    ids=lambda operation: operation.__name__,
)
def test_a_change_is_noticed_and_so_is_the_next(
    file: Path, polling: bool, operation: Operation
) -> None:
    async def scenario() -> None:
        async with watching(file) as (watcher, observed):
            assert watcher.polling is polling
            operation(file)
            await observed.until("new")
            file.write_text("newer")
            await observed.until("newer")

    asyncio.run(scenario())


def test_vanishing_and_appearing(file: Path, polling: bool) -> None:
    async def scenario() -> None:
        async with watching(file) as (_, observed):
            file.unlink()
            await observed.until(None)
            file.write_text("back")
            await observed.until("back")
            shutil.rmtree(file.parents[2] / "erp-4.1")
            await observed.until(None)
            file.parents[2].joinpath("erp-4.1/etc").mkdir(parents=True)
            file.parents[2].joinpath("erp-4.1/config").symlink_to("etc")
            file.write_text("again")
            await observed.until("again")

    asyncio.run(scenario())


def test_the_target_of_a_link(file: Path, polling: bool) -> None:
    """Of a chain of links: file -> current/k.conf, current -> 1, switched to 2."""
    base = file.parents[2]
    for release in ("1", "2"):
        (base / release).mkdir()
        (base / release / "k.conf").write_text(release)
    (base / "current").symlink_to("1")
    file.unlink()
    file.symlink_to(base / "current/k.conf")

    async def scenario() -> None:
        async with watching(file) as (_, observed):
            (base / "1/k.conf").write_text("one")
            await observed.until("one")
            (base / "next").symlink_to("2")
            (base / "next").rename(base / "current")
            await observed.until("2")
            (base / "2/k.conf").write_text("two")
            await observed.until("two")

    asyncio.run(scenario())


def test_changes_in_a_row_are_one(file: Path, polling: bool) -> None:
    async def scenario() -> None:
        async with watching(file, debounce=0.3) as (_, observed):
            for number in range(50):  # the loop does not run meanwhile
                file.write_text(f"{number}")
            await observed.next_change()
            assert (observed.calls, observed.content) == (1, "49")

    asyncio.run(scenario())


def test_changes_without_a_pause_are_noticed(file: Path) -> None:
    """Debouncing puts off, it never suppresses."""

    async def scenario() -> None:
        async with watching(file, debounce=0.3) as (_, observed):
            number = 0
            while not observed.calls:
                file.write_text(f"{number}")
                number += 1
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_what_is_no_change(file: Path, polling: bool) -> None:
    """Reading, touching, writing the same, other files of the directory."""

    async def scenario() -> None:
        async with watching(file) as (_, observed):
            file.read_text()
            os.utime(file)
            file.write_text("old")
            file.with_name("other.conf").write_text("x")
            await asyncio.sleep(0.3)  # several polls and debounces
            file.write_text("new")
            await observed.next_change()
            assert (observed.calls, observed.content) == (1, "new")

    asyncio.run(scenario())


def test_several_files_and_other_files(file: Path, tmp_path: Path, polling: bool) -> None:
    template, third = tmp_path / "templates/mail.txt", tmp_path / "third.txt"
    template.parent.mkdir()

    async def scenario() -> None:
        async with watching(file, template) as (watcher, observed):
            template.write_text("appeared")
            await observed.next_change()
            watcher.set_files([file, third])
            template.write_text("no longer watched")
            third.write_text("now watched")
            await observed.next_change()
            assert observed.calls == 2
            file.write_text("still watched")
            await observed.until("still watched")

    asyncio.run(scenario())


def test_a_name_that_is_not_utf8(file: Path) -> None:
    """pyinotify cannot decode it; this must neither hurt nor hide anything."""

    async def scenario() -> None:
        async with watching(file) as (_, observed):
            Path(os.fsdecode(os.fsencode(file.parent) + b"/\xff\xfe")).touch()
            file.write_text("new")
            await observed.until("new")

    asyncio.run(scenario())


def test_a_path_that_is_not_utf8(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """pyinotify cannot watch it, so it is polled."""
    # such a path in pytest's report is one that xdist cannot pass on; our own log writes it escaped
    caplog.set_level(logging.CRITICAL, log.ROOT)
    file = tmp_path / os.fsdecode(b"Gr\xfc\xdfe") / "kivitendo.conf"
    file.parent.mkdir()
    file.write_text("a")

    async def scenario() -> None:
        async with watching(file) as (watcher, observed):
            assert watcher.polling
            file.write_text("b")
            await observed.until("b")

    asyncio.run(scenario())


def inotify_descriptors() -> set[int]:
    """Descriptors of inotify instances, by what the kernel calls them."""
    return {
        int(link.name)
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink() and "inotify" in os.readlink(link)  # noqa: PTH115 - no real path
    }


def test_closing(file: Path) -> None:
    async def scenario() -> None:
        before = inotify_descriptors()
        async with watching(file) as (watcher, observed):
            file.write_text("new")
            (descriptor,) = inotify_descriptors() - before
            assert not os.get_inheritable(descriptor)
            watcher.close()
            watcher.close()
            assert inotify_descriptors() == before
            await asyncio.sleep(0.2)
            assert observed.calls == 0

    asyncio.run(scenario())


def test_watch_points_of_a_loop_and_of_a_file_as_directory(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "plain").touch()
    points = watch_points([tmp_path / "loop", tmp_path / "plain/x", tmp_path / "a/../plain"])
    assert points == {tmp_path: {"loop", "plain", "a"}}


def test_reload_under_fire(file: Path, polling: bool) -> None:
    """200 rewrites by renaming and in place, every second one wrong: the last valid one counts."""
    file.with_name("kivitendo.conf.default").write_text(
        "[task_server]\n[authentication/database]\nhost = h\ndb = d\nuser = u\n"
    )
    file.write_text("[task_server]\nnode_id = 0\n")

    async def scenario() -> None:
        configuration = CurrentConfiguration(lambda: load(file, kivitendo_dir=file.parents[1]))
        seen = ["0"]
        last = asyncio.Event()

        def on_change() -> None:
            if configuration.reload().changed:
                seen.append(configuration.settings.task_server.node_id)
            if seen[-1] == "199" and configuration.reload().error:
                last.set()

        watcher = Watcher(
            watched_files(configuration.loaded, file.parents[1]),
            on_change,
            debounce=0.01,
            poll_interval=0.01,
        )
        watcher.start()
        for number in range(1, 200):
            wrong = "" if number % 2 else "job_timeout = wrong\n"
            written = file if number % 3 else file.with_name("temporary")
            written.write_text(f"[task_server]\nnode_id = {number}\n{wrong}")
            written.rename(file)
            await asyncio.sleep(0.005)
        while seen[-1] != "199":
            await asyncio.sleep(0.01)
        file.write_text("[task_server\n")
        await last.wait()
        watcher.close()
        assert configuration.settings.task_server.node_id == "199"
        assert all(int(number) % 2 for number in seen[1:])

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))


SCRIPT = """
import asyncio, logging, resource, sys
from pathlib import Path
from kivitendo_task_server.config.watcher import Watcher

logging.basicConfig(format="LOG %(message)s", stream=sys.stdout)
file = Path(sys.argv[1])

async def main():
    changed = asyncio.Event()
    watcher = Watcher([file], changed.set, debounce=0.01, poll_interval=0.05)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if sys.argv[2:] == ["no descriptors"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    watcher.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    print("polling", watcher.polling)
    for content in ("new", "newer"):
        changed.clear()
        moved = file.parent.rename(file.parent.with_name("moved"))
        moved.rename(file.parent)
        file.write_text(content)
        await asyncio.wait_for(changed.wait(), 30)
    print("changed")
    watcher.close()

asyncio.run(main())
"""


def run_script(file: Path, *arguments: str, limit: str = "") -> list[str]:
    """Run SCRIPT; with ``limit`` in a user namespace where this kernel limit is 0."""
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", textwrap.dedent(SCRIPT)]
    if limit:
        shell = 'echo 0 > "/proc/sys/user/$0" && exec "$@"'
        command = ["unshare", "--user", "--map-root-user", "sh", "-c", shell, limit, *command]
    result = subprocess.run(
        [*command, str(file), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_pyinotify_is_quiet(file: Path) -> None:
    """No DeprecationWarning of asyncore, no message of its own about moved directories."""
    assert run_script(file) == ["polling False", "changed"]


def test_out_of_descriptors(file: Path) -> None:
    logged, *others = run_script(file, "no descriptors")
    assert "because inotify is unavailable" in logged and "Too many open files" in logged
    assert others == ["polling True", "changed"]


@pytest.mark.parametrize(
    ("limit", "remedy"),
    [
        ("max_inotify_instances", "fs.inotify.max_user_instances"),
        ("max_inotify_watches", "fs.inotify.max_user_watches"),
    ],
)
def test_out_of_watches(file: Path, limit: str, remedy: str) -> None:
    """The kernel's own limits, lowered in a user namespace of the test's own."""
    if subprocess.run(["unshare", "--user", "--map-root-user", "true"], check=False).returncode:
        pytest.skip("this machine allows no user namespaces, so its limits cannot be lowered")
    logged, *others = run_script(file, limit=limit)
    assert logged.startswith("LOG changes of the configuration are looked for every")
    assert remedy in logged
    assert others == ["polling True", "changed"]
