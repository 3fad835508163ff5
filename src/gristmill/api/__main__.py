"""The API process: ``python -m gristmill.api``."""

import sys

from gristmill.kit.loading import loading

with loading():
    import uvicorn

    from gristmill.access.keys import KeyRing, ensure_key
    from gristmill.api.app import make_app
    from gristmill.api.http_protocol import ProblemProtocol
    from gristmill.api.middleware import LOOPBACK
    from gristmill.bootstrap.api import ApiServices
    from gristmill.bootstrap.shared import Gristmill
    from gristmill.core.config import Settings
    from gristmill.core.errors import GristmillError, Unavailable
    from gristmill.core.logs import get_logger
    from gristmill.core.start import begin

log = get_logger()


def main() -> None:
    """Serve until SIGTERM; open requests are answered first."""
    settings = begin("api")
    gristmill = Gristmill(settings, "gristmill-api", pool=settings.database_pool)
    try:
        if settings.api_bootstrap_key:
            ensure_key(gristmill.database, "bootstrap", "admin", settings.api_bootstrap_key)
        check_access(settings, gristmill)
        check_stores(gristmill)
    except GristmillError as error:
        log.error("api.refused_to_start", reason=error.detail)
        sys.exit(1)
    uvicorn.run(
        make_app(ApiServices(gristmill)),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=35,
        timeout_keep_alive=75,
        server_header=False,
        # Nothing here depends on a client's address, and headers that anybody may send are not believed.
        proxy_headers=False,
        http=ProblemProtocol,
    )


def check_access(settings: Settings, gristmill: Gristmill) -> None:
    """Refuse any address but loopback while there is no API key. Raises Unavailable."""
    if settings.api_host in LOOPBACK:
        return
    if not KeyRing(gristmill.database).any_key():
        raise Unavailable(
            f"The API will not listen on {settings.api_host} without an API key: "
            "make one with `gristmill keys create NAME --permission admin`, or listen on 127.0.0.1"
        )


def check_stores(gristmill: Gristmill) -> None:
    """Refuse a pgvector that corrupts indexes and embedders that are not the datasets' own.

    Without Postgres the API starts all the same and answers 503 until it is there.
    """
    try:
        gristmill.check()
    except GristmillError as error:
        if error.code != "database_unavailable":
            raise
        log.warning("api.started_without_postgres", reason=error.detail)
        return
    gristmill.check_files()


if __name__ == "__main__":
    main()
