"""``run_as``: becoming the user of the task server for good (task-server.md, c.8).

Beyond the original the supplementary groups and the environment are the user's too (weakness 13):
started by root, that one kept root's groups.
"""

from __future__ import annotations

import os
import pwd

from kivitendo_task_server.errors import ConfigurationError, PrivilegeError


def look_up(run_as: str, where: str) -> pwd.struct_passwd | None:
    """The account of ``run_as``, None if it is empty; ``where`` names the setting's place.

    Raises ConfigurationError for an unknown user and for the administrator.
    """
    if not run_as:
        return None
    try:
        account = pwd.getpwnam(run_as)
    except KeyError:
        raise ConfigurationError(
            f"Cannot drop privileges to {run_as}: user does not exist",
            where=where,
            remedy="name an existing system user, usually the web server's",
        ) from None
    if account.pw_uid == 0:
        raise ConfigurationError(
            f"Cannot drop privileges to {run_as}: it is the administrator",
            where=where,
            remedy="name an unprivileged user, usually the web server's, or leave it empty",
        )
    return account


def become(account: pwd.struct_passwd, *, where: str) -> None:
    """Be that user from now on, in all ids, groups and the environment; no way back.

    Does nothing but the environment if we are that user already. Raises PrivilegeError.
    """
    name, uid, gid = account.pw_name, account.pw_uid, account.pw_gid
    if os.getresuid() != (uid, uid, uid):
        doing = f"group privileges to {name} (group ID {gid})"
        try:
            os.initgroups(name, gid)
            os.setresgid(gid, gid, gid)
            doing = f"user privileges to {name} (user ID {uid})"
            os.setresuid(uid, uid, uid)
        except OSError as error:
            raise PrivilegeError(
                f"Cannot drop {doing}: {error.strerror}",
                where=where,
                remedy=f"call this as root or as {name}",
            ) from error
    os.environ.update(HOME=account.pw_dir, USER=name, LOGNAME=name)
    # the caller's, which a program of that user may neither read nor write
    for variable in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MAIL"):
        os.environ.pop(variable, None)
