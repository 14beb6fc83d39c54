"""The operator: `python -m holdfast.controller`; its settings are in `holdfast.controller.config`."""

import os
import sys

from holdfast.controller.config import Config, ConfigError
from holdfast.controller.operator import run

try:
    run(Config.from_environment(os.environ))
except ConfigError as error:
    sys.exit(f"holdfast: {error}")
