"""Metadata of the example; see docs/writing-jobs.md."""

from setuptools import setup

setup(
    name="kivitendo-example-job",
    version="1.0",
    description="A background job of our own for kivitendo-task-server",
    py_modules=["kivitendo_example_job"],
    install_requires=["kivitendo-task-server"],
    entry_points={
        "kivitendo_task_server.jobs": [
            # package_name in kivitendo's table = module:class
            "CloseForgottenOrders = kivitendo_example_job:CloseForgottenOrders",
        ]
    },
)
