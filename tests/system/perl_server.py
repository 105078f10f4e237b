"""A stand-in for kivitendo's Perl task server, and the unit that kivitendo delivers for it."""

from __future__ import annotations

from pathlib import Path

from system.inside import DIRECTORY

SCRIPT = f"{DIRECTORY}/scripts/task_server.pl"
SCRIPT_TEXT = Path(__file__).with_name("stand_in_task_server.pl").read_text()
# under the name of ours
UNIT = "/etc/systemd/system/kivitendo-task-server.service"
# in its essentials: always restarted
UNIT_TEXT = f"""\
[Service]
Type=forking
User=www-data
ExecStart={SCRIPT} start
ExecStop={SCRIPT} stop
Restart=always

[Install]
WantedBy=multi-user.target
"""
