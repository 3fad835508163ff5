"""How the chunks of a message ended, in few words."""

from collections.abc import Sequence

from gristmill.jobs.outcome import Ended


def counted(ends: Sequence[Ended]) -> str:
    """Return such as ``2 done, 1 failed``, what was done first; for one chunk just how it ended."""
    how = sorted((end.how for end in ends), key=lambda one: one != "done")
    if len(how) == 1:
        return how[0]
    return ", ".join(f"{how.count(one)} {one}" for one in dict.fromkeys(how))
