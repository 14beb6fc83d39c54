"""The limit on Jobs, as whoever installs the operator writes it."""

import pytest

from holdfast.controller.config import Config, ConfigError


def test_limit_is_read() -> None:
    assert Config.from_environment({"HOLDFAST_MAX_RUNNING_JOBS": "3"}).max_running_jobs == 3


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_limit_that_lets_nothing_start_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"HOLDFAST_MAX_RUNNING_JOBS=.* at least 1"):
        Config.from_environment({"HOLDFAST_MAX_RUNNING_JOBS": value})
