"""Prints the OpenAPI document: ``python -m gristmill.api.openapi``; no service is asked."""

import json
import sys

from gristmill.api.app import make_rest
from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import load_settings


def main() -> None:
    """Write the document to standard output."""
    rest = make_rest(ApiServices(Gristmill(load_settings(), "gristmill-openapi")))
    json.dump(rest.openapi(), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
