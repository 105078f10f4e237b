"""Entry point of ``python -m kivitendo_task_server``."""

from kivitendo_task_server.cli.main import main

raise SystemExit(main())
