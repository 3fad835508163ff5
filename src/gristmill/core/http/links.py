"""The next page of a list as a header: ``Link: <…>; rel="next"`` (RFC 8288)."""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from starlette.requests import Request

# A header that is longer than this is refused by proxies as they are usually set up; the body has the token as well.
MOST = 3500
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})")


def next_page(http: Request, token: str | None) -> Mapping[str, str]:
    """Return the header that leads to the page after ``token``: none on the last page, or if it were too long."""
    if token is None:
        return {}
    query = [(name, value) for name, value in http.query_params.multi_items() if name != "page_token"]
    url = f"{path_of(http)}?{urlencode([*query, ('page_token', token)])}"
    return {"Link": f'<{url}>; rel="next"'} if len(url) <= MOST else {}


def path_of(http: Request) -> str:
    """Return the path of a request as it stands in a URL: percent-encoded, whatever the client sent."""
    raw = http.scope.get("raw_path")
    text = quote(http.scope["path"]) if raw is None else raw.decode("latin-1")
    return quote(_STRAY.sub("%25", text), safe="/%:@!$&'()*+,;=~", encoding="latin-1")
