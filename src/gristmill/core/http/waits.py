"""How long an answer may be held until a job has finished: ``?wait=`` and ``Prefer: wait=`` (RFC 7240)."""

import re
from dataclasses import dataclass

from starlette.requests import Request

from gristmill.core.http.head import is_head
from gristmill.core.http.parameters import bad_query

# A preference: its name, perhaps its value as a token or quoted, perhaps parameters that nobody defines for this one.
_PREFERENCE = re.compile(r'\s*([!#$%&\'*+.^_`|~\w-]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^",;\s]*)\s*)?((?:;[^,]*)?)(?:,|$)')
# The expression looks at a text again for each place where it could begin: nobody may send a long one.
_LONGEST = 500
_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Wait:
    """seconds: 0 where nobody asked. preferred: whether it was the header that asked."""

    seconds: float = 0.0
    preferred: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """What says that the preference was heeded, and how far."""
        return {"Preference-Applied": f"wait={self.seconds:g}"} if self.preferred else {}


_NONE = Wait()


def wait_of(http: Request) -> Wait:
    """Return how long the answer to a request may be held, at most ``api.max_wait``: more counts as that.

    The parameter counts before the header. A HEAD never waits. Raises Invalid for a parameter that is no number of
    seconds; a preference that cannot be understood is passed over, as RFC 7240 has it.
    """
    longest: float = http.app.state.max_wait
    given = http.query_params.get("wait") if http.scope["query_string"] else None
    if given is not None:
        try:
            seconds = float(given)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            raise bad_query("wait", given, f"a number of seconds from 0 on; more than {longest:g} count as {longest:g}")
        found = Wait(min(seconds, longest))
    elif "prefer" in http.headers:
        preferred = preferred_wait(",".join(http.headers.getlist("prefer")))
        found = _NONE if preferred is None else Wait(min(float(preferred), longest), preferred=True)
    else:
        return _NONE
    return _NONE if is_head(http) else found


def preferred_wait(header: str) -> int | None:
    """Return the seconds of the first preference ``wait``, None without a valid one."""
    for name, value, _ in _PREFERENCE.findall(header[:_LONGEST]):
        if name.lower() == "wait":
            text = value[1:-1] if value.startswith('"') else value
            return int(text) if _SECONDS.fullmatch(text) else None
    return None
