"""The one exception base says what, where and what to do."""

from kivitendo_task_server.errors import ConfigurationError


def test_message_has_place_fact_and_remedy() -> None:
    error = ConfigurationError("no such file", where="config/x.conf", remedy="create it")
    assert str(error) == "config/x.conf: no such file (create it)"
    assert error.exit_code == 6
