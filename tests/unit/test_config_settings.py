"""Loading: merge of both files, typed settings, errors, warnings and origins."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kivitendo_task_server.config import settings as settings_module
from kivitendo_task_server.config.environment import environment_changes
from kivitendo_task_server.config.keys import KEYS
from kivitendo_task_server.config.settings import (
    DatabaseAccess,
    DebugSettings,
    FailureNotification,
    Loaded,
    MailDelivery,
    PeriodicInvoicesSettings,
    SentFolder,
    SystemSettings,
    TaskServerSettings,
    load,
)
from kivitendo_task_server.errors import ConfigurationError

DEFAULTS = """\
[authentication]
session_timeout = 480

[authentication/database]
host = localhost
port = 5432
db = kivitendo_auth
user = postgres
password =

[system]
language = de

[task_server]
login =
debug = 0
run_as =

[mail_delivery]
method = smtp
host = localhost
port = 25

[debug]
file_name = users/kivitendo-debug.log
global_level = NONE

[environment]
path = /usr/local/bin
"""


@dataclass
class Installation:
    directory: Path

    @property
    def local(self) -> Path:
        return self.directory / "config/kivitendo.conf"

    @property
    def default(self) -> Path:
        return self.directory / "config/kivitendo.conf.default"

    def load(self, text: str | bytes, environ: dict[str, str] | None = None) -> Loaded:
        content = text if isinstance(text, bytes) else text.encode()
        self.local.write_bytes(content)
        return load(self.local, kivitendo_dir=self.directory, environ=environ or {})

    def errors(self, text: str) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            self.load(text)
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def kivitendo(tmp_path: Path) -> Installation:
    installation = Installation(tmp_path / "erp")
    installation.default.parent.mkdir(parents=True)
    installation.default.write_text(DEFAULTS)
    return installation


# --- merge (a.3)


def test_local_keys_replace_defaults_also_by_nothing(kivitendo: Installation) -> None:
    loaded = kivitendo.load(
        "[authentication/database]\nhost = db\nport =\n[own]\nx = y\n[debug]\nfile_name =\n"
    )
    assert loaded.settings.auth_database == DatabaseAccess("db", 5432, "kivitendo_auth", "postgres")
    assert loaded.settings.debug.file_name == ""
    assert loaded.settings.sections["own"] == {"x": "y"}
    assert loaded.settings.sections["mail_delivery"]["host"] == "localhost"
    assert loaded.origins["authentication/database", "host"] == f"{kivitendo.local}:2"
    assert loaded.origins["authentication/database", "user"] == f"{kivitendo.default}:8"
    assert loaded.origins["authentication/database", "port"] == "default"
    assert loaded.origins["task_server", "stop_timeout"] == "default"
    assert loaded.origins["own", "x"] == f"{kivitendo.local}:5"
    assert loaded.files == (kivitendo.default, kivitendo.local)


def test_older_name_of_the_defaults(kivitendo: Installation) -> None:
    older = kivitendo.default.with_name("lx_office.conf.default")
    kivitendo.default.rename(older)
    assert kivitendo.load("").files[0] == older


def test_only_the_delivered_defaults(kivitendo: Installation) -> None:
    loaded = load(kivitendo.default, kivitendo_dir=kivitendo.directory, environ={})
    assert loaded.files == (kivitendo.default,)
    assert any("no local settings" in warning for warning in loaded.warnings)


# --- typed values


def test_defaults_are_the_dataclasses(kivitendo: Installation) -> None:
    loaded = kivitendo.load("")
    assert loaded.settings.task_server == TaskServerSettings()
    assert loaded.settings.task_server.node_id == socket.gethostname()
    assert loaded.settings.system == SystemSettings()
    assert loaded.settings.mail == MailDelivery(port=25)
    assert loaded.settings.notify_on_failure == FailureNotification()
    assert loaded.settings.periodic_invoices == PeriodicInvoicesSettings()
    assert loaded.settings.debug == DebugSettings()
    assert loaded.settings.session_timeout == 480
    (warning,) = loaded.warnings
    assert "only delivered defaults apply" in warning


def test_every_key_of_a_section_is_read(kivitendo: Installation) -> None:
    loaded = kivitendo.load(
        """\
[task_server]
login = anna
client = 3
run_as = www-data
debug = 1
node_id = node-a
only_run_tasks_for_this_node = 1
max_parallel_tenants = 9
job_timeout = 1h30m
stop_timeout = 2m
[task_server/runners]
CleanAuthSessions = native
SelfTest/Transactions = Perl
[task_server/notify_on_failure]
send_email_to = a@b.de
email_from = k <k@b.de>
email_subject = failed
email_template = t.txt
[system]
language = en
memory_limit_rss = 500 MB
memory_limit_vsz = 2gb
[mail_delivery]
method = sendmail
sendmail = /bin/mail <%myconfig_email%>
host = mx
port = 587
security = TLS
login = l
password = p
ehlo = e
debug = 1
[mail_delivery/email/x@b.de]
host = other
user = old
[sent_emails_in_imap]
enabled = 1
hostname = imap
port = 143
ssl = 0
username = u
password = p
folder = F/G
[sent_emails_in_imap/email/x@b.de]
hostname =
ssl =
folder =
[periodic_invoices]
send_email_to = b
email_from = f
email_subject = s
email_template = t
send_for_errors_only = 1
currency_conversion = once
trust_unknown_release = 1
[debug]
file_name = log
global_level = INFO debug1 WARN
[authentication]
session_timeout = 20
[paths]
document_path = /docs
"""
    )
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.task_server == TaskServerSettings(
        login="anna",
        client="3",
        run_as="www-data",
        debug=True,
        node_id="node-a",
        only_run_tasks_for_this_node=True,
        max_parallel_tenants=9,
        job_timeout=5400,
        stop_timeout=120,
    )
    assert settings.runners == {"CleanAuthSessions": "native", "SelfTest::Transactions": "perl"}
    assert settings.notify_on_failure == FailureNotification(
        "a@b.de", "k <k@b.de>", "failed", "t.txt"
    )
    assert settings.system == SystemSettings("en", 500 * 1024**2, 2 * 1024**3)
    assert settings.mail == MailDelivery(
        method="sendmail",
        sendmail="/bin/mail <%myconfig_email%>",
        host="mx",
        port=587,
        security="tls",
        login="l",
        password="p",
        ehlo="e",
        debug=True,
    )
    assert settings.mail_by_address == {"x@b.de": MailDelivery(host="other", login="old")}
    assert settings.sent_folder == SentFolder(True, "imap", 143, False, "u", "p", "F/G")
    assert settings.sent_folder_by_address == {"x@b.de": SentFolder()}
    assert settings.periodic_invoices == PeriodicInvoicesSettings(
        "b", "f", "s", "t", True, "once", True
    )
    assert settings.debug == DebugSettings("log", frozenset({"INFO", "DEBUG1", "WARN"}))
    assert settings.session_timeout == 20
    assert settings.document_path == "/docs"


@pytest.mark.parametrize(
    ("section", "dataclass_name"),
    [
        ("task_server", "TaskServerSettings"),
        ("task_server/notify_on_failure", "FailureNotification"),
        ("authentication/database", "DatabaseAccess"),
        ("system", "SystemSettings"),
        ("mail_delivery", "MailDelivery"),
        ("sent_emails_in_imap", "SentFolder"),
        ("periodic_invoices", "PeriodicInvoicesSettings"),
        ("debug", "DebugSettings"),
    ],
)
def test_table_and_dataclass_agree(section: str, dataclass_name: str) -> None:
    kind = getattr(settings_module, dataclass_name)
    assert [key.attribute for key in KEYS[section]] == [field.name for field in fields(kind)]


def test_old_place_of_sendmail_wins(kivitendo: Installation) -> None:
    loaded = kivitendo.load("[applications]\nsendmail = /old\n[mail_delivery]\nsendmail = /new\n")
    assert loaded.settings.mail.sendmail == "/old"
    assert loaded.origins["mail_delivery", "sendmail"] == f"{kivitendo.local}:2"


@pytest.mark.parametrize(
    ("text", "value", "warned"),
    [
        ("", False, False),
        ("0", False, False),
        ("1", True, False),
        ("yes", True, False),
        ("no", False, True),
        ("False", False, True),
        ("OFF", False, True),
        ("00", True, True),
        ("maybe", True, True),
    ],
)
def test_switches(kivitendo: Installation, text: str, value: bool, warned: bool) -> None:
    """Perl's truth, except that the words for off are off (i.33)."""
    loaded = kivitendo.load(f"[task_server]\nonly_run_tasks_for_this_node = {text}\n")
    assert loaded.settings.task_server.only_run_tasks_for_this_node is value
    assert bool(loaded.warnings) is warned
    if warned:
        (warning,) = loaded.warnings
        assert warning.startswith(
            f"{kivitendo.local}:2: [task_server] only_run_tasks_for_this_node = {text}: "
        )


@pytest.mark.parametrize(
    ("text", "limit", "warned"),
    [
        ("", None, False),
        ("0", None, False),
        ("104857600", 104857600, False),
        ("100mb", 104857600, False),
        ("100 Mb", 104857600, False),
        ("1gb", 1024**3, False),
        ("102400kb", 104857600, False),
        ("100M", 104857600, True),
        ("1G", 1024**3, True),
        ("100 MiB", 104857600, True),
        ("100", 100, True),
    ],
)
def test_memory_limits(kivitendo: Installation, text: str, limit: int | None, warned: bool) -> None:
    """The original reads 100M as 100 bytes and ends after the first pass (i.15)."""
    loaded = kivitendo.load(f"[system]\nmemory_limit_rss = {text}\n")
    assert loaded.settings.system.memory_limit_rss == limit
    assert bool(loaded.warnings) is warned


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0", 0), ("90s", 90), ("10m", 600), ("2H", 7200), ("1d", 86400)],
)
def test_durations(kivitendo: Installation, text: str, seconds: int) -> None:
    loaded = kivitendo.load(f"[task_server]\njob_timeout = {text}\n")
    assert loaded.settings.task_server.job_timeout == seconds


# --- errors


@pytest.mark.parametrize(
    ("section", "key", "value", "allowed"),
    [
        ("task_server", "max_parallel_tenants", "0", "a whole number from 1 to 1000"),
        ("task_server", "max_parallel_tenants", "many", "a whole number"),
        ("task_server", "job_timeout", "10 minutes", "seconds, or numbers with the units"),
        ("task_server", "stop_timeout", "-1", "seconds"),
        ("task_server/runners", "Test", "python", "native or perl"),
        ("task_server/runners", "A", ":B = perl", "/ instead of ::"),
        ("system", "memory_limit_rss", "much", "500mb"),
        ("system", "memory_limit_vsz", "1.5gb", "500mb"),
        ("authentication/database", "port", "70000", "a whole number from 1 to 65535"),
        ("mail_delivery", "method", "pigeon", "smtp or sendmail"),
        ("mail_delivery", "security", "starttls", "none or tls or ssl"),
        ("mail_delivery/email/a@b.de", "port", "smtp", "a whole number"),
        ("sent_emails_in_imap", "port", "imaps", "a whole number from 1 to 65535"),
        ("sent_emails_in_imap/email/a@b.de", "port", "0", "a whole number"),
        ("periodic_invoices", "currency_conversion", "never", "kivitendo or once"),
        ("environment", "A", "b\0c", "NUL"),
        ("debug", "file_name", "a\0b", "one line of text"),
    ],
)
def test_a_wrong_value(
    kivitendo: Installation, section: str, key: str, value: str, allowed: str
) -> None:
    (error,) = kivitendo.errors(f"# local\n[{section}]\n{key} = {value}\n")
    assert error.startswith(f"{kivitendo.local}:3: [{section}] {key} = ")
    assert allowed in error


def test_all_errors_at_once(kivitendo: Installation) -> None:
    text = """\
[task_server]
max_parallel_tenants = none
job_timeout = soon
[authentication/database]
host =
user =
port = x
[system]
memory_limit_rss = lots
"""
    errors = kivitendo.errors(text)
    assert [error.removeprefix(f"{kivitendo.local}:").partition(":")[0] for error in errors] == [
        *("5", "7", "6"),
        *("2", "3"),
        "9",
    ]
    with pytest.raises(ConfigurationError, match="6 errors in the configuration") as caught:
        kivitendo.load(text)
    assert all(error in str(caught.value) for error in errors)
    assert caught.value.exit_code == 6


def test_errors_of_both_files_at_once(kivitendo: Installation) -> None:
    kivitendo.default.write_text("[task_server\n")
    errors = kivitendo.errors("[a] b\n")
    assert [error.partition(": ")[0] for error in errors] == [
        f"{kivitendo.default}:1",
        f"{kivitendo.local}:1",
    ]


def test_missing_sections(kivitendo: Installation) -> None:
    kivitendo.default.write_text("")
    errors = kivitendo.errors("")
    assert len(errors) == 2
    assert "section [task_server] is missing" in errors[0]
    assert "section [authentication/database] is missing" in errors[1]
    assert all(str(kivitendo.local) in error and "add it" in error for error in errors)


def test_missing_database_keys(kivitendo: Installation) -> None:
    kivitendo.default.write_text("[task_server]\n[authentication/database]\nport = 1\n")
    errors = kivitendo.errors("[authentication/database]\nhost = \n")
    assert [error.partition(" (")[0] for error in errors] == [
        f"{kivitendo.local}:2: [authentication/database] host is empty",
        f"{kivitendo.local}: [authentication/database] db is missing",
        f"{kivitendo.local}: [authentication/database] user is missing",
    ]


def test_no_defaults(kivitendo: Installation) -> None:
    kivitendo.default.unlink()
    (error,) = kivitendo.errors("")
    assert "default configuration is missing" in error


@contextmanager
def an_ordinary_user() -> Iterator[None]:
    """File permissions bind us, also if the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("closed", ["config/kivitendo.conf", "config"])
def test_unreadable_file(closed: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own belongs to one user
        installation = Installation(Path(name))
        installation.directory.chmod(0o755)
        installation.default.parent.mkdir()
        installation.default.write_text(DEFAULTS)
        installation.local.touch()
        (installation.directory / closed).chmod(0)
        with (
            an_ordinary_user(),
            pytest.raises(ConfigurationError, match="permission denied") as caught,
        ):
            load(installation.local, kivitendo_dir=installation.directory)
        (installation.directory / closed).chmod(0o755)
    assert f"{installation.local}: " in str(caught.value)
    assert "let the user or group of the service read it" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda file: None, "does not exist"),
        (lambda file: file.mkdir(), "not a regular file"),
        (lambda file: os.mkfifo(file), "not a regular file"),
        (lambda file: file.symlink_to("gone"), "does not exist"),
        (lambda file: file.symlink_to(file.name), "too many levels of symbolic links"),
        (lambda file: file.write_bytes(b"#" * 5_000_000), "larger than"),
    ],
)
def test_not_a_file(kivitendo: Installation, make: Callable[[Path], object], what: str) -> None:
    make(kivitendo.local)
    with pytest.raises(ConfigurationError, match=what) as caught:
        load(kivitendo.local, kivitendo_dir=kivitendo.directory)
    assert caught.value.where == str(kivitendo.local)


def test_locked_file(kivitendo: Installation) -> None:
    kivitendo.local.touch()
    with kivitendo.local.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="locked by another program"):
            load(kivitendo.local, kivitendo_dir=kivitendo.directory)
    load(kivitendo.local, kivitendo_dir=kivitendo.directory)


# --- warnings


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("[task_server]\nmax_paralel_tenants = 1\n", 2, "did you mean max_parallel_tenants?"),
        ("[task_server/notify_on_failure]\nx = 1\n", 2, "unknown key"),
        ("[periodic_invoices]\nsend_mail_to = 1\n", 2, "did you mean send_email_to?"),
        ("[taskserver]\nrun_as = x\n", 2, "did you mean task_server?"),
        ("[TASK_SERVER]\nrun_as = x\n", 2, "did you mean task_server?"),
        ("[task_server]\nDEBUG = 1\n", 2, "did you mean debug?"),
        ("[task_server/other]\nx = y\n", 2, "unknown section"),
        ("[authentication/databse]\ndb = x\n", 2, "did you mean authentication/database?"),
        ("[taskserver/notifyonfailure]\nx = y\n", 2, "task_server/notify_on_failure?"),
        ("[task_server/runners]\nrm -rf = perl\n", 2, "not the name of a job"),
        ("[task_server]\nrun_as = a\nrun_as = b\n", 3, "given 2 times (lines 2, 3)"),
        ("[applications]\nlatex = a\nlatex = b\n", 3, "given 2 times (lines 2, 3)"),
        ("[task_server]\nrun_as = a\n[x]\n[task_server]\nrun_as = b\n", 5, "given before (line 2)"),
        ("[applications]\n" + "latex = a\n" * 30, 31, "20, 21, …); the last one"),
        ("run_as = x\n", 1, "before the first [section]"),
        ("[authentication]\nsession_timeout = long\n", 2, "the default is taken"),
        ("[debug]\nglobal_level = INFO LOUD\n", 2, "unknown levels LOUD"),
    ],
)
def test_warnings(kivitendo: Installation, text: str, line: int, expected: str) -> None:
    (warning,) = kivitendo.load(text).warnings
    assert warning.startswith(f"{kivitendo.local}:{line}: ")
    assert expected in warning


def test_the_last_of_repeated_keys_counts(kivitendo: Installation) -> None:
    """The original makes the useless text ARRAY(0x...) of it (i.33)."""
    loaded = kivitendo.load("[task_server]\nnode_id = a\nnode_id = b\n")
    assert loaded.settings.task_server.node_id == "b"


def test_invalid_utf8(kivitendo: Installation) -> None:
    (warning,) = kivitendo.load(b"[company]\nname = Gr\xfc\xdfe\n").warnings
    assert "not valid UTF-8" in warning


def test_unknown_keys_of_others_are_not_our_business(kivitendo: Installation) -> None:
    assert kivitendo.load("[features]\nx = 1\n[system]\ny = 2\n[debug]\nz = 3\n").warnings == ()
    for section in (
        *("authentication/ldap", "authentication/http_headers", "sent_emails_in_imap"),
        *("sent_emails_in_imap/email/a@b.de", "print_templates", "follow_up_reminder", "self_test"),
        *("check_below_minimum_stock", "imap_client", "applications", "secrets"),
    ):
        assert kivitendo.load(f"[{section}]\nx = 1\n").warnings == (), section


# --- secrets


def test_secrets_are_never_shown(kivitendo: Installation) -> None:
    text = """\
[authentication/database]
password = geheim
password = geheim
[mail_delivery]
password = geheim
[mail_delivery/email/a@b.de]
password = geheim
[secrets]
master_key = geheim
anything = geheim
[imap_client]
password = geheim
[sent_emails_in_imap]
password = geheim
passwd = geheim
[own]
url = https://anna:geheim@example.org/x
by_mail_address = smtp://anna@b.de:ge@heim@example.org/x
url https://anna:geheim@example.org
password =

  = geheim
api_key = geheim
client_secret = geheim
"""
    loaded = kivitendo.load(text)
    assert loaded.settings.auth_database.password == "geheim"
    assert loaded.settings.sections["imap_client"]["password"] == "geheim"
    for shown in (loaded.effective, loaded.warnings, loaded, loaded.settings):
        assert "geheim" not in str(shown)
        assert "geheim" not in repr(shown)
    values = {(each.section, each.key): each.value for each in loaded.effective}
    assert values["own", "url"] == "https://anna:********@example.org/x"
    assert values["own", "by_mail_address"] == "smtp://anna@b.de:********@example.org/x"
    assert values["mail_delivery", "password"] == "********"


def test_a_wrong_value_of_a_secret_is_not_shown(kivitendo: Installation) -> None:
    (error,) = kivitendo.errors("[mail_delivery]\npassword = geheim\n  = geheim\n")
    assert "geheim" not in error


# --- environment (a.4)


@pytest.mark.parametrize(
    ("section", "environ", "changes"),
    [
        ({"path": "/a:/b"}, {"PATH": "/bin"}, {"PATH": "/bin:/a:/b"}),
        ({"path": ":/a"}, {"PATH": "/bin"}, {"PATH": "/bin:/a"}),
        ({"path": "/a"}, {}, {"PATH": "/a"}),
        ({"path": "/a"}, {"PATH": ""}, {"PATH": "/a"}),
        ({"path": ""}, {"PATH": "/bin"}, {}),
        ({"lib": "/l"}, {"PERL5LIB": "/p"}, {"PERL5LIB": "/p:/l"}),
        ({"HOME": "/h", "Mixed": "x"}, {"HOME": "/root"}, {"HOME": "/h", "Mixed": "x"}),
        ({"X": "0", "Y": "", "Z": "00"}, {}, {"Z": "00"}),
    ],
)
def test_environment(
    section: dict[str, str], environ: dict[str, str], changes: dict[str, str]
) -> None:
    assert environment_changes(section, environ) == changes
    applied = {**environ, **changes}
    assert {**applied, **environment_changes(section, applied)} == applied


def test_environment_of_a_configuration(kivitendo: Installation) -> None:
    before = dict(os.environ)
    loaded = kivitendo.load("[environment]\nTZ_OF_JOBS = Europe/Berlin\n", {"PATH": "/bin"})
    assert loaded.settings.environment == {
        "PATH": "/bin:/usr/local/bin",
        "TZ_OF_JOBS": "Europe/Berlin",
    }
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("text", "value"), [("", None), ("0", False), ("no", False), ("1", True), ("yes", True)]
)
def test_certificates_are_verified_or_not(
    kivitendo: Installation, text: str, value: bool | None
) -> None:
    mail = kivitendo.load(f"[mail_delivery]\nverify_certificate = {text}\n").settings.mail
    assert mail.verify_certificate is value


# --- anything

SECTIONS = st.sampled_from(
    [*KEYS, "task_server/runners", "mail_delivery/email/a@b", "environment", ""]
)
NAMES = st.sampled_from(
    [key.name for keys in KEYS.values() for key in keys] + ["path", " ", "A/B", "\x1b[31m"]
)
VALUES = st.one_of(
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=12),
    st.integers().map(str),
    st.sampled_from(["1", "no", "10m", "1h2", "100M", "5 gb", "tls", "once", "native", "9" * 400]),
)


@example([("debug", "global_level", "\x1b")])
@given(st.lists(st.tuples(SECTIONS, NAMES, VALUES), max_size=8))
def test_any_configuration_loads_or_is_our_error(lines: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        installation = Installation(Path(name))
        installation.default.parent.mkdir()
        installation.default.write_text(DEFAULTS)
        text = "".join(f"[{section}]\n{key} = {value}\n" for section, key, value in lines)
        try:
            loaded = installation.load(text)
        except ConfigurationError as error:
            assert all(problem.where for problem in error.problems)
            assert all(str(problem).isprintable() for problem in error.problems)
            return
        assert all(each.value.isprintable() for each in loaded.effective)
        assert all(warning.isprintable() for warning in loaded.warnings)
        assert all(warning.startswith(name) for warning in loaded.warnings)
        changes = loaded.settings.environment  # the starting process sets them
        assert not any("\0" in variable + value for variable, value in changes.items())
