"""Sends calls over HTTP, repeats those that may be repeated, and turns error answers into exceptions."""

from __future__ import annotations

import ipaddress
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gristmill.client._bodies import Body
from gristmill.client._httpx import httpx
from gristmill.client._retry import REPEATED_STATUSES, Retry
from gristmill.client.errors import ConnectionFailed, InvalidArgument, problem_of, retry_after_of

Json = dict[str, Any]

# The slowest rate at which a server is still thought to be at work on an upload.
_BYTES_PER_SECOND = 2_000_000


class Transport:
    """One server, one API key, one pool of connections. Safe to use from several threads."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeout: float,
        retry: Retry,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._retry = retry
        self.sleep = sleep
        headers = {"User-Agent": "gristmill-client", "Accept": "application/json"}
        if is_this_machine(self.base_url):
            # Packing and unpacking takes longer than sending.
            headers["Accept-Encoding"] = "identity"
        if api_key:
            if not api_key.isascii():
                raise InvalidArgument("the API key holds characters that no key has: all of them are ASCII")
            headers["Authorization"] = f"Bearer {api_key}"
        # Reading the certificates of all authorities takes longer than a call; plain HTTP does not need them.
        verify: ssl.SSLContext | bool = self.base_url.startswith("https:")
        self._http = httpx.Client(headers=headers, timeout=timeout, transport=transport, verify=verify)

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Body | None = None,
        idempotency_key: str | None = None,
        if_match: str | None = None,
        hold: float = 0,
    ) -> Any:
        """Make one call and return its decoded JSON answer.

        params: query parameters; those that are None are left out.
        idempotency_key: what makes a write safe to repeat. Reads and dry runs need none.
        if_match: the ETag that the thing must have.
        hold: seconds that the server may hold the answer back, added to the time limit.
        Raises ConnectionFailed or a subclass of Problem.
        """
        headers = {"Idempotency-Key": idempotency_key, "If-Match": if_match}
        given = {name: value for name, value in headers.items() if value is not None}
        response = self.answer(method, path, params=params, body=body, headers=given, hold=hold)
        try:
            return response.json() if response.content else None
        except ValueError as error:
            # Somebody in between answered, with a success.
            shown = response.text[:200].strip()
            raise ConnectionFailed(f"the answer of {self.base_url} is not JSON: {shown}", idempotency_key) from error

    def answer(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        hold: float = 0,
    ) -> httpx.Response:
        """Make one call as ``call`` does and return the whole answer, which is a success."""
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._send(method, path, params, body, headers or {}, hold)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError) as error:
                raise InvalidArgument(f"the request cannot be sent: {error}") from error
            except httpx.RequestError as error:
                pause = self._retry.delay(attempt)
                if pause is None:
                    raise self._no_answer(error, attempt, (headers or {}).get("Idempotency-Key")) from error
            else:
                if response.is_success:
                    return response
                pause = None
                if response.status_code in REPEATED_STATUSES:
                    pause = self._retry.delay(attempt, retry_after_of(response))
                if pause is None:
                    raise problem_of(response)
            self.sleep(pause)

    def stream(
        self,
        path: str,
        params: Mapping[str, Any],
        silence: float,
        compressed: bool = False,
        method: str = "GET",
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[bytes]:
        """Make one call that reads and yield its answer as it arrives; repeated only as long as nothing has arrived.

        silence: seconds without a byte after which the answer has broken off. compressed: ask for gzip on the way.
        Raises ConnectionFailed, also for an answer that ends too early, or a subclass of Problem.
        """
        given = {name: value for name, value in params.items() if value is not None}
        timeout = httpx.Timeout(self._timeout, read=max(self._timeout, silence))
        sent = {"Accept-Encoding": "gzip" if compressed else "identity", **(headers or {})}
        if body is not None:
            sent |= {"Content-Type": body.content_type, "Content-Length": str(body.length)}
        options: dict[str, Any] = {"params": given, "headers": sent, "timeout": timeout}
        attempt, begun = 0, False
        while True:
            attempt += 1
            try:
                content = None if body is None else body.pieces()
                with self._http.stream(method, self.base_url + path, content=content, **options) as response:
                    if response.is_success:
                        begun = True
                        yield from response.iter_bytes()
                        return
                    response.read()
                    pause = None
                    if response.status_code in REPEATED_STATUSES:
                        pause = self._retry.delay(attempt, retry_after_of(response))
                    if pause is None:
                        raise problem_of(response)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError) as error:
                raise InvalidArgument(f"the request cannot be sent: {error}") from error
            except httpx.RequestError as error:
                if begun:
                    raise ConnectionFailed(f"the answer of {self.base_url} broke off: {error}") from error
                pause = self._retry.delay(attempt)
                if pause is None:
                    raise self._no_answer(error, attempt, None) from error
            self.sleep(pause)

    def stream_file(self, path: str, size: int, silence: float) -> Iterator[bytes]:
        """Yield the ``size`` bytes of a file as they arrive; where an answer breaks off, another one brings the rest.

        Raises ConnectionFailed where no attempt brings more, or a subclass of Problem.
        """
        timeout = httpx.Timeout(self._timeout, read=max(self._timeout, silence))
        attempt, got = 0, 0
        while True:
            attempt += 1
            reason = "it ended too early"
            try:
                headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={got}-"} if got else {})}
                with self._http.stream("GET", self.base_url + path, headers=headers, timeout=timeout) as response:
                    if response.status_code == (206 if got else 200):
                        for piece in response.iter_bytes():
                            got += len(piece)
                            attempt = 0
                            yield piece
                        if got >= size:
                            return
                        pause = self._retry.delay(attempt)
                    else:
                        response.read()
                        again = response.status_code in REPEATED_STATUSES
                        pause = self._retry.delay(attempt, retry_after_of(response)) if again else None
                        if pause is None:
                            raise problem_of(response)
            except httpx.RequestError as error:
                pause = self._retry.delay(attempt)
                reason = str(error) or type(error).__name__
            if pause is None:
                raise ConnectionFailed(f"the file broke off after {got} of {size} bytes: {reason}")
            self.sleep(pause)

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Body | None,
        given: Mapping[str, str],
        hold: float,
    ) -> httpx.Response:
        headers = dict(given)
        if body is not None:
            headers["Content-Type"] = body.content_type
            headers["Content-Length"] = str(body.length)
            if body.encoding is not None:
                headers["Content-Encoding"] = body.encoding
            # The answer comes when everything is checked and stored, which takes its time for a large upload.
            hold += body.length / _BYTES_PER_SECOND
        return self._http.request(
            method,
            self.base_url + path,
            params={name: value for name, value in (params or {}).items() if value is not None},
            content=None if body is None else body.pieces(),
            headers=headers,
            timeout=httpx.Timeout(self._timeout, read=self._timeout + hold),
        )

    def _no_answer(self, error: httpx.RequestError, attempts: int, key: str | None) -> ConnectionFailed:
        reason = str(error) or type(error).__name__
        times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        return ConnectionFailed(f"no answer from {self.base_url} after {times}: {reason}", key)


def new_idempotency_key() -> str:
    """Return a key that no other write has."""
    return uuid.uuid4().hex


def is_this_machine(base_url: str) -> bool:
    """Say whether a URL is of the machine that asks: ``localhost``, or an address of its loopback."""
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        # It is no URL, which the first call says.
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
