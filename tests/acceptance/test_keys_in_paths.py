"""Any text is a key, and its path addresses that record alone: through the client and by hand-made URLs."""

import http.client
import json
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.rest import Rest, new_name

from gristmill.client import Client

pytestmark = pytest.mark.promise(9)

CONTRACT = {
    "fields": [{"name": "k", "type": "text", "required": True}, {"name": "n", "type": "integer"}],
    "key": ["k"],
}
AWKWARD = [
    ".", "..",
    "a/..", "../a", "a", "a\n", "\na", "a\n\n", "a\r\n", "\n", "\r", "/", "//", "a/b", "a//b", "a/", "%", "%2F",
    "%00", "+", "a+b", " ", " a ", "?", "#", "a?b#c", "delete", "query", ";", "a;b", "\\", "\x7f", "\u2028", "\u0085",
    "é", "e\u0301", "null", '["a"]', '"',
]  # fmt: skip


def texts() -> list[str]:
    """Every kind of code point from 0x01 to 0x10FFFF, alone and beside others; surrogates are no characters."""
    random = Random(4)
    singles = [chr(code) for code in range(1, 0x250)]
    edges = [0x7FF, 0x800, 0xD7FF, 0xE000, 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x1F600, 0x10FFFF]
    others = [
        chr(random.choice([random.randrange(0x250, 0xD800), random.randrange(0xE000, 0x110000)])) for _ in range(80)
    ]
    mixed = ["".join(random.choices(singles + others, k=random.randint(2, 6))) for _ in range(80)]
    return list(dict.fromkeys([*AWKWARD, *singles, *map(chr, edges), *others, *mixed]))


class ByHand:
    """Requests whose paths are sent as they are: every byte of the key is escaped."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def ask(self, method: str, dataset: str, key: str, body: Any = None) -> tuple[int, Any]:
        escaped = "".join(f"%{byte:02X}" for byte in key.encode())
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        self.connection.request(method, f"/api/v1/datasets/{dataset}/records/{escaped}", content, headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


class TestKeys:
    def test_each_key_finds_changes_and_deletes_its_record_and_no_other(self, rest: Rest) -> None:
        name, keys = rest.create(CONTRACT), texts()
        rest.store(name, [{"k": key, "n": number} for number, key in enumerate(keys)])
        by_hand, last = ByHand(rest.system.url), ""
        with Client(rest.system.url) as client:
            for number, key in enumerate(keys):
                record = {"k": key, "n": number}
                assert client.record(name, key) == record
                assert by_hand.ask("GET", name, key) == (200, record)
            for number, key in enumerate(keys):
                if number % 3 == 0:
                    status, job = by_hand.ask("PATCH", name, key, {"n": -number})
                    assert status == 202
                    last = job["id"]
                elif number % 3 == 1:
                    last = client.delete(name, key)["id"]
            client.wait(last)
            left = {record["k"]: record["n"] for record in client.records(name)}
        assert left == {key: -n if n % 3 == 0 else n for n, key in enumerate(keys) if n % 3 != 1}

    def test_a_key_that_leads_out_of_the_records_drops_no_dataset(self, rest: Rest) -> None:
        """As clients send ``records/..`` that resolve it."""
        name = rest.create(CONTRACT)
        answer = rest.http.delete(f"/api/v1/datasets/{name}")
        assert (answer.status_code, answer.json()["code"]) == (428, "unconfirmed")
        assert f"?confirm={name}" in answer.json()["detail"]
        wrong = rest.http.delete(f"/api/v1/datasets/{name}", params={"confirm": new_name()})
        assert (wrong.status_code, wrong.json()["code"]) == (428, "unconfirmed")
        assert rest.http.get(f"/api/v1/datasets/{name}").status_code == 200
