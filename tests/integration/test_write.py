"""Writing records on real Postgres: whatever order chunks come in, the table ends as a plain dict would."""

import datetime as dt
import random
import threading
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gristmill.core.database import Database
from gristmill.datasets.contract_parser import Contract, KnownEmbedder, parse_contract
from gristmill.datasets.ddl import MAX_PLAIN_DIMENSIONS, apply_alter, create_table, plain_columns
from gristmill.datasets.types.matrices import vector_column
from gristmill.records.apply import upsert as write
from gristmill.records.apply.upsert import Part, WriteCounts, upsert
from gristmill.records.changes import repository
from gristmill.records.columns import ORD_COLUMN, to_table
from gristmill.records.errors import KeyExists
from gristmill.records.payload import decode, encode
from gristmill.records.validation.rows import RecordValidator

_SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def _create(database: Database, body: dict[str, Any]) -> Contract:
    contract = parse_contract({**body, "name": "w_" + uuid.uuid4().hex[:12]}, {"static": KnownEmbedder(2)})
    with database.transaction() as connection:
        create_table(connection, contract, uuid.uuid4())
    return contract


def _write(
    database: Database,
    contract: Contract,
    rows: list[dict[str, Any]],
    seq: int,
    first_ord: int = 0,
    target: Contract | None = None,
    **options: Any,
) -> WriteCounts:
    """Validate the rows by ``contract`` and write them to the table of ``target``, as a request and a worker would."""
    validator = RecordValidator(contract)
    table = to_table(contract.input_columns, [validator.validate_python(row) for row in rows])
    embeddings = options.pop("embeddings", None)
    payload = decode(encode(table))
    if embeddings is not None:
        payload = payload.append_column("_embedding", vector_column(embeddings, embeddings.shape[1]))
    with database.transaction() as connection:
        part = Part(payload, seq, first_ord)
        return upsert(connection, target or contract, [part], **options)[0]


def _rows(database: Database, contract: Contract, columns: str = "*") -> list[Any]:
    with database.autocommit() as connection:
        return list(connection.exec_driver_sql(f'SELECT {columns} FROM data."{contract.name}" ORDER BY 1, 2').all())


@pytest.fixture(params=["direct", "staged"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways into the table: direct INSERT, and COPY with a merge."""
    monkeypatch.setattr(write, "DIRECT_ROWS", 200 if request.param == "direct" else 0)
    return str(request.param)


@pytest.fixture
def keyed(database: Database) -> Contract:
    return _create(
        database,
        {
            "fields": [
                {"name": "k", "type": "text", "required": True},
                {"name": "d", "type": "decimal", "required": True},
                {"name": "v", "type": "integer"},
            ],
            "key": ["k", "d"],
        },
    )


_KEYS = st.sampled_from(["", "a", "b", "ä", "Z", "aa"])
_RECORDS = st.lists(st.tuples(_KEYS, st.sampled_from(["1", "1.0", "-2.5"]), st.integers(0, 9)), min_size=1, max_size=8)


class TestOrder:
    @given(jobs=st.lists(_RECORDS, max_size=6), seed=st.randoms(use_true_random=False), direct=st.integers(0, 5))
    @example(jobs=[[("a", "1", 1)], [("a", "1.0", 2)]], seed=random.Random(1), direct=9)
    @_SETTINGS
    def test_chunks_in_any_order_end_as_a_dict_filled_in_order_of_submission(
        self, database: Database, keyed: Contract, jobs: list[Any], seed: random.Random, direct: int
    ) -> None:
        model: dict[Any, Any] = {}
        chunks = []
        for seq, job in enumerate(jobs, 1):
            for place, (k, d, v) in enumerate(job):
                model[k, Decimal(d)] = (v, seq, place)
            cut = seed.randint(0, len(job))
            chunks += [(seq, at, part) for at, part in ((0, job[:cut]), (cut, job[cut:])) if part]
        seed.shuffle(chunks)
        with database.autocommit() as connection:
            connection.exec_driver_sql(f"TRUNCATE data.{keyed.name}")
        counts = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(write, "DIRECT_ROWS", direct)
            for seq, first, part in chunks:
                rows = [{"k": k, "d": d, "v": v} for k, d, v in part]
                counts.append((len(part), _write(database, keyed, rows, seq, first)))
        found = {(k, d): (v, seq, place) for k, d, v, seq, place in _rows(database, keyed, "k, d, v, _seq, _ord")}
        assert found == model
        assert all(done.succeeded + done.superseded == size for size, done in counts)

    def test_concurrent_chunks_with_the_same_keys_never_deadlock(
        self, database: Database, keyed: Contract, way: str
    ) -> None:
        errors: list[BaseException] = []

        def work(seq: int) -> None:
            rows = [{"k": f"{n}", "d": "0", "v": seq} for n in range(100)]
            random.Random(seq).shuffle(rows)
            try:
                for turn in range(5):
                    _write(database, keyed, rows, seq * 10 + turn)
            except BaseException as error:  # noqa: BLE001 - shown below
                errors.append(error)

        threads = [threading.Thread(target=work, args=(seq,)) for seq in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []


class TestUpsert:
    def test_duplicates_in_a_batch_leave_the_last_and_are_counted(
        self, database: Database, keyed: Contract, way: str
    ) -> None:
        rows = [{"k": f"dup {way}", "d": "1", "v": n} for n in range(3)]
        assert _write(database, keyed, rows, 5) == WriteCounts(succeeded=1, superseded=2)
        assert _write(database, keyed, rows, 4) == WriteCounts(succeeded=0, superseded=3)
        found = [row for row in _rows(database, keyed, "k, v, _seq, _ord") if row[0] == f"dup {way}"]
        assert found == [(f"dup {way}", 2, 5, 2)]

    def test_a_changed_row_moves_to_the_tail(self, database: Database, keyed: Contract, way: str) -> None:
        rows = [{"k": f"tail {way}", "d": "1", "v": 1}]
        ids = []
        for seq in (1, 2):
            _write(database, keyed, rows, seq)
            ids.append(next(row[1] for row in _rows(database, keyed, "k, _id") if row[0] == f"tail {way}"))
        assert ids[1] > ids[0]

    def test_fail_names_the_first_record_whose_key_exists(self, database: Database, keyed: Contract, way: str) -> None:
        rows = [{"k": f"fail {way} {n}", "d": "1.50", "v": n} for n in range(5)]
        _write(database, keyed, rows[3:], 1)
        with pytest.raises(KeyExists) as caught:
            _write(database, keyed, rows, 2, first_ord=100, mode="fail")
        assert caught.value.extra == {"record": 103, "key": [f"fail {way} 3", "1.50"]}
        assert _write(database, keyed, rows[:3], 3, mode="fail").succeeded == 3
        with pytest.raises(KeyExists, match="another record of this request"):
            _write(database, keyed, rows[:3], 3, first_ord=3, mode="fail")

    def test_records_of_an_earlier_contract_leave_later_columns_null(self, database: Database, way: str) -> None:
        old = _create(
            database,
            {
                "fields": [{"name": "k", "type": "integer", "required": True}, {"name": "v", "type": "integer"}],
                "key": ["k"],
            },
        )
        new = parse_contract(
            {
                "name": old.name,
                "fields": [
                    {"name": "k", "type": "integer", "required": True},
                    {"name": "v", "type": "decimal"},
                    {"name": "late", "type": "text"},
                ],
                "key": ["k"],
            }
        )
        with database.transaction() as connection:
            apply_alter(connection, old, new)
        _write(database, new, [{"k": 1, "v": "1.5", "late": "x"}, {"k": 2, "late": "y"}], 1)
        _write(database, old, [{"k": 1, "v": 7}], 2, target=new)
        assert _rows(database, new, "k, v, late") == [(1, Decimal(7), None), (2, None, "y")]

    def test_places_that_the_payload_names_are_kept_and_decide_who_wins(
        self, database: Database, keyed: Contract, way: str
    ) -> None:
        rows = [{"k": f"gap {way} {n % 2}", "d": "1", "v": n} for n in range(3)]
        validator = RecordValidator(keyed)
        table = to_table(keyed.input_columns, [validator.validate_python(row) for row in rows])
        table = decode(encode(table.append_column(ORD_COLUMN, pa.array([4, 7, 9], pa.int64()))))
        with database.transaction() as connection:
            assert upsert(connection, keyed, [Part(table, 6, 4)]) == [WriteCounts(2, 1)]
        found = [row for row in _rows(database, keyed, "k, v, _ord") if row[0].startswith(f"gap {way}")]
        assert found == [(f"gap {way} 0", 2, 9), (f"gap {way} 1", 1, 7)]
        with database.transaction() as connection, pytest.raises(KeyExists) as caught:
            upsert(connection, keyed, [Part(table, 7, 4)], mode="fail")
        assert caught.value.extra["record"] == 4

    def test_no_record_at_all_is_nothing_to_write(self, database: Database, keyed: Contract, way: str) -> None:
        assert _write(database, keyed, [], 1) == WriteCounts(0, 0)
        assert _write(database, keyed, [], 2, mode="fail") == WriteCounts(0, 0)

    @pytest.mark.parametrize("extra", [[], [{"name": "n", "type": "decimal"}]])
    def test_a_dataset_without_a_key_keeps_every_record(self, database: Database, way: str, extra: list[Any]) -> None:
        contract = _create(database, {"fields": [{"name": "a", "type": "text"}, *extra]})
        assert _write(database, contract, [{"a": "x"}, {"a": "x"}, {}], 9, first_ord=10) == WriteCounts(3, 0)
        assert _rows(database, contract, "_seq, _ord, a") == [(9, 10, "x"), (9, 11, "x"), (9, 12, None)]


_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_decimals = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20)
_json = st.recursive(
    st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner | st.none(), max_size=3) | st.dictionaries(_text, inner | st.none(), max_size=3),
    max_leaves=8,
)
_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
_ALL = {
    "t": _text,
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_nan=False, allow_infinity=False),
    "d": _decimals.map(str),
    "b": st.booleans(),
    "ts": st.datetimes(timezones=st.just(dt.UTC)).map(lambda value: value.isoformat()),
    "da": st.dates().map(str),
    "u": st.uuids().map(str),
    "j": _json,
    "v": st.lists(_float32, min_size=3, max_size=3),
}


class TestReadsBackEqual:
    @pytest.fixture
    def everything(self, database: Database) -> Contract:
        types = {
            "t": "text", "i": "integer", "f": "float", "d": "decimal", "b": "boolean", "ts": "timestamp", "da": "date",
            "u": "uuid", "j": "json", "v": "vector",
        }  # fmt: skip
        fields = [{"name": name, "type": kind} for name, kind in types.items()]
        fields[-1]["dimensions"] = 3  # type: ignore[assignment]
        return _create(
            database, {"fields": [{"name": "n", "type": "integer", "required": True}, *fields], "key": ["n"]}
        )

    @given(rows=st.lists(st.fixed_dictionaries({name: st.none() | kind for name, kind in _ALL.items()}), max_size=12))
    @_SETTINGS
    def test_all_types_with_nulls_are_equal_by_either_way(
        self, database: Database, everything: Contract, rows: list[dict[str, Any]]
    ) -> None:
        for seq, direct in ((1, 200), (2, 0)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(write, "DIRECT_ROWS", direct)
                with database.autocommit() as connection:
                    connection.exec_driver_sql(f"TRUNCATE data.{everything.name}")
                if rows:
                    _write(database, everything, [{"n": n, **row} for n, row in enumerate(rows)], seq)
            columns = "n, t, i, f, d, b, ts, da, u::text, j, v::real[]"
            found = _rows(database, everything, columns)
            assert [self._shown(row) for row in found] == [self._expected(n, row) for n, row in enumerate(rows)]

    def _expected(self, n: int, row: dict[str, Any]) -> tuple[Any, ...]:
        values = RecordValidator(
            parse_contract(
                {"name": "x", "fields": [{"name": "ts", "type": "timestamp"}, {"name": "da", "type": "date"}]}
            )
        ).validate_python({"ts": row["ts"], "da": row["da"]})
        return (
            n, row["t"], row["i"], None if row["f"] is None else repr(row["f"]),
            None if row["d"] is None else Decimal(row["d"]), row["b"], values["ts"], values["da"], row["u"],
            row["j"], None if row["v"] is None else [float(np.float32(number)) for number in row["v"]],
        )  # fmt: skip

    def _shown(self, row: Any) -> tuple[Any, ...]:
        values = list(row)
        values[3] = None if values[3] is None else repr(values[3])
        values[10] = None if values[10] is None else [float(np.float32(number)) for number in values[10]]
        return tuple(values)


class TestVectors:
    @pytest.fixture
    def embedded(self, database: Database) -> Contract:
        body = {"fields": [{"name": "k", "type": "integer", "required": True}], "key": ["k"]}
        return _create(database, {**body, "embedding": {"dimensions": 4, "metric": "l2"}})

    def test_vectors_of_clients_are_stored_and_null_stays_null(
        self, database: Database, embedded: Contract, way: str
    ) -> None:
        rows = [{"k": 1, "_embedding": [0.1, 2, 3, 1e15]}, {"k": 2, "_embedding": None}]
        _write(database, embedded, rows, 1 if way == "direct" else 2)
        found = _rows(database, embedded, "k, _embedding::real[]")
        assert found[1] == (2, None)
        assert np.array_equal(np.float32(found[0][1]), np.float32([0.1, 2, 3, 1e15]))

    def test_the_largest_vectors_that_fit_a_page_are_merged_beside_long_texts(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(write, "DIRECT_ROWS", 0)
        fields = [{"name": "k", "type": "integer", "required": True}]
        fields += [{"name": f"t{n}", "type": "text"} for n in range(6)]
        body = {"fields": fields, "key": ["k"], "embedding": {"dimensions": MAX_PLAIN_DIMENSIONS, "metric": "l2"}}
        contract = _create(database, body)
        assert plain_columns(contract) == ["_embedding"]
        vector = np.random.default_rng(1).standard_normal(MAX_PLAIN_DIMENSIONS).tolist()
        noise = np.random.default_rng(2).bytes(15_000).hex()
        rows = [{"k": k, **{f"t{n}": noise for n in range(6)}, "_embedding": vector} for k in range(3)]
        assert _write(database, contract, rows, 1).succeeded == 3
        found = _rows(database, contract, "k, t5, _embedding::real[]")
        assert [(row[0], row[1]) for row in found] == [(k, noise) for k in range(3)]
        assert all(np.array_equal(np.float32(row[2]), np.float32(vector)) for row in found)

    def test_rows_of_nan_become_null(self, database: Database, way: str) -> None:
        contract = _create(
            database,
            {
                "fields": [{"name": "k", "type": "integer", "required": True}, {"name": "t", "type": "text"}],
                "key": ["k"],
                "embedding": {"from": ["t"], "embedder": "static"},
            },
        )
        vectors = np.array([[1, 2], [np.nan, np.nan]], np.float32)
        _write(database, contract, [{"k": 1, "t": "a"}, {"k": 2, "t": ""}], 1, embeddings=vectors)
        assert _rows(database, contract, "k, _embedding::real[]") == [(1, [1, 2]), (2, None)]


class TestChange:
    @pytest.fixture
    def contract(self, database: Database) -> Contract:
        body = {
            "fields": [
                {"name": "u", "type": "uuid", "required": True},
                {"name": "n", "type": "integer", "required": True},
                {"name": "t", "type": "text"},
                {"name": "j", "type": "json"},
                {"name": "f", "type": "float"},
            ],
            "key": ["u", "n"],
        }
        return _create(database, body)

    def test_patch_changes_the_named_members_and_the_place_in_the_order(
        self, database: Database, contract: Contract
    ) -> None:
        key = (uuid.uuid4(), 7)
        _write(database, contract, [{"u": str(key[0]), "n": 7, "t": "old", "f": 1.5}], 1)
        with database.transaction() as connection:
            assert repository.last_write(connection, contract, key)
            assert repository.last_write(connection, contract, (key[0], 8)) is None
            assert repository.patch(connection, contract, key, {"t": None, "j": {"a": [1, None]}, "f": -0.0}, 3)
            assert not repository.patch(connection, contract, (key[0], 8), {"t": "x"}, 3)
        assert _rows(database, contract, "n, t, j, f::text, _seq, _ord") == [(7, None, {"a": [1, None]}, "-0", 3, 0)]

    def test_a_patched_vector_is_stored_with_its_source_fields(self, database: Database) -> None:
        body = {
            "fields": [
                {"name": "k", "type": "integer", "required": True},
                {"name": "a", "type": "text"},
                {"name": "b", "type": "text"},
                {"name": "c", "type": "text"},
            ],
            "key": ["k"],
            "embedding": {"from": ["a", "b"], "embedder": "static"},
        }
        contract = _create(database, body)
        _write(database, contract, [{"k": 1, "a": "A", "b": "B"}], 1, embeddings=np.array([[1, 1]], np.float32))
        with database.transaction() as connection:
            repository.patch(connection, contract, (1,), {"c": "C"}, 2)
        assert _rows(database, contract, "k, _embedding::real[]") == [(1, [1, 1])]
        with database.transaction() as connection:
            repository.patch(connection, contract, (1,), {"b": "new", "_embedding": [2.0, 0.5]}, 3)
        assert _rows(database, contract, "b, _embedding::real[]") == [("new", [2.0, 0.5])]
        with database.transaction() as connection:
            repository.patch(connection, contract, (1,), {"b": None, "_embedding": None}, 4)
        assert _rows(database, contract, "b, _embedding") == [(None, None)]

    def test_delete_by_key_and_by_filter(self, database: Database, contract: Contract) -> None:
        key = str(uuid.uuid4())
        _write(database, contract, [{"u": key, "n": n, "f": n / 2} for n in range(10)], 1)
        with database.transaction() as connection:
            assert repository.delete_by_key(connection, contract, (uuid.UUID(key), 0))
            assert not repository.delete_by_key(connection, contract, (uuid.UUID(key), 0))
            assert repository.delete_where(connection, contract, {"n": {"between": [3, 5]}, "f": {"lt": 2.5}}) == 2
        assert [row[0] for row in _rows(database, contract, "n, f")] == [1, 2, 5, 6, 7, 8, 9]
