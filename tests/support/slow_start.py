"""A plugin that takes long to load: as long as a file is there, named by SLOW_START_FILE."""

import os
import time
from pathlib import Path
from typing import Any


def register(registry: Any, gristmill: Any) -> None:
    while Path(os.environ["SLOW_START_FILE"]).exists():
        time.sleep(0.02)
