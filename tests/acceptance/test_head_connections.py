"""Over real HTTP: no byte follows the headers of a HEAD, and what travels compressed arrives as it is."""

import http.client
import io

import pytest
from tests.support.rest import Rest

from gristmill.client import Client

CONTRACT = {"fields": [{"name": "k", "type": "text", "required": True}], "key": ["k"]}


@pytest.fixture(scope="module")
def name(rest: Rest) -> str:
    name = rest.create(CONTRACT)
    rest.store(name, [{"k": str(number)} for number in range(1000)])
    return name


@pytest.mark.parametrize("path", ["export?format=csv", "export?format=parquet", "records", "records/1", "records/none"])
def test_the_connection_goes_on_and_the_length_is_that_of_the_get(rest: Rest, name: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", rest.system.port, timeout=30)
    connection.connect()
    socket = connection.sock
    url = f"/api/v1/datasets/{name}/{path}"
    for _ in range(2):
        connection.request("HEAD", url)
        head = connection.getresponse()
        assert head.read() == b""
        # The client of the standard library reads what is left over as the start of the next answer.
        connection.request("GET", url)
        get = connection.getresponse()
        body = get.read()
        assert (get.status, get.getheader("content-type")) == (head.status, head.getheader("content-type"))
        if "export" in path:
            assert head.getheader("content-length") is None
            assert head.getheader("transfer-encoding") is None
        elif get.status == 200:
            assert int(head.getheader("content-length") or -1) == len(body)
        assert connection.sock is socket
    connection.close()


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
def test_an_export_that_travels_compressed_is_the_same_file(rest: Rest, name: str, format: str) -> None:
    files = [io.BytesIO(), io.BytesIO()]
    with Client(rest.system.url) as client:
        for file, compressed in zip(files, (False, True), strict=True):
            client.export(name, file, format=format, compressed=compressed)
    assert files[0].getvalue() == files[1].getvalue() != b""
    url = f"/api/v1/datasets/{name}/export"
    for coding in ("gzip", "identity"):
        headers = {"accept-encoding": coding}
        with rest.http.stream("GET", url, params={"format": format}, headers=headers) as answer:
            answer.read()
        zipped = coding == "gzip" and format != "parquet"
        assert answer.headers.get("content-encoding") == ("gzip" if zipped else None)
        assert answer.content == files[0].getvalue()
