"""Running the migrations: ``python -m gristmill.core.migrate [revision]``, or ``upgrade(url)`` from a program."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

from gristmill.core.config import load_settings
from gristmill.core.errors import Unavailable


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration for this database; the migrations lie beside ``src`` or in the working folder."""
    places = [Path(__file__).resolve().parents[3] / "migrations", Path.cwd() / "migrations"]
    found = next((place for place in places if (place / "env.py").is_file()), None)
    if found is None:
        raise Unavailable(f"The migrations were not found; looked in {', '.join(map(str, places))}")
    config = Config()
    config.set_main_option("script_location", str(found))
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to ``revision``. Two processes may call it at once: the second one waits."""
    command.upgrade(alembic_config(url), revision)


def downgrade(url: str, revision: str) -> None:
    command.downgrade(alembic_config(url), revision)


if __name__ == "__main__":
    upgrade(load_settings().database_url, *sys.argv[1:2])
