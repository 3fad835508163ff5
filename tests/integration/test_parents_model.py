"""Random hierarchies and random changes of them: the tables equal a model, and what is refused is refused there too."""

import itertools
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.families import NAMES, Model, Refused, Relation, Shape
from tests.support.in_process import InProcess

from gristmill.bootstrap.worker import build_executor
from gristmill.dispatcher.loop import bundle
from gristmill.jobs.repository.dispatch import mark_sent

pytestmark = pytest.mark.promise(3)
REACTION = st.sampled_from(["refuse", "cascade", "cascade"])
NAME = st.sampled_from(NAMES)
SIZE = st.sampled_from([None, 0, 1, 2, 3, 4, 5, 6])
ROOM = st.sampled_from([None, 0, 2, 3, 4, 5, 6, 9])
LIMITED = st.sampled_from([True, True, False])


@st.composite
def shapes(draw: Callable[..., Any]) -> list[Shape]:
    """Datasets of which each may have parents among those before it that have a key of one field."""
    found = [Shape(("k",), ())]
    for _ in range(draw(st.integers(1, 3))):
        above = [place for place, shape in enumerate(found) if len(shape.key) == 1]
        relations = tuple(
            Relation(f"p{number}", draw(st.sampled_from(above)), draw(REACTION), draw(REACTION), draw(LIMITED))
            for number in range(draw(st.integers(1, 2)))
        )
        key = draw(st.sampled_from([("k",), ("k",), ("p0",), ("k", "p0"), ()]))
        found.append(Shape(key, relations))
    return found


def operations(model: Model) -> st.SearchStrategy[tuple[Any, ...]]:
    """Operations on what is there, mostly."""
    return st.one_of([one for at in range(len(model.shapes)) for one in _operations(at, model)])


def _operations(at: int, model: Model) -> list[st.SearchStrategy[tuple[Any, ...]]]:
    place, shape = st.just(at), model.shapes[at]
    values: dict[str, Any] = {"k": NAME, "size": SIZE, "room": ROOM}
    for one in shape.relations:
        there = [model.key(one.parent, record)[0] for record in model.tables[one.parent]]
        values[one.field] = st.sampled_from([*(there * 5), *NAMES, *([] if one.field in shape.key else [None])])
    change = st.fixed_dictionaries({}, optional=values).filter(bool)
    others = {name: value for name, value in values.items() if name not in shape.key}
    shared = st.fixed_dictionaries({}, optional=others).filter(bool)
    key = st.tuples(*(NAME for _ in shape.key))
    if keys := [model.key(at, record) for record in model.tables[at]]:
        key = st.one_of(st.sampled_from(keys), st.sampled_from(keys), st.sampled_from(keys), key)
    # Records are put and changed more often than they are deleted.
    found: list[st.SearchStrategy[tuple[Any, ...]]] = []
    found += [st.tuples(st.just("put"), place, st.fixed_dictionaries(values))] * 8
    found += [st.tuples(st.just("delete_where"), place, st.integers(5, 7))]
    found += [st.tuples(st.just("patch_where"), place, st.integers(0, 6), shared)] * 3
    if shape.key:
        found += [st.tuples(st.just("patch"), place, key, change)] * 12
        found += [st.tuples(st.just("delete"), place, key)] * 2
        found += [st.tuples(st.just("delete_keys"), place, st.lists(key, max_size=3))]
        found += [st.tuples(st.just("truncate"), place)]
    return found


class Families:
    """A model, and the same datasets in the database."""

    def __init__(self, app: InProcess, found: list[Shape]) -> None:
        self.app = app
        self.model = Model(found)
        self.names: list[str] = []
        for shape in found:
            self.names.append(app.dataset(shape.contract(self.names)))
        app.work()
        self.expected: list[tuple[Any, str, set[str]]] = []

    def submit(self, operation: tuple[Any, ...]) -> None:
        """Ask for an operation, and note what should come of it."""
        answer = self.ask(*operation)
        codes: set[str] = set()
        try:
            self.model.run(operation)
        except Refused as refusal:
            codes = refusal.codes
        if answer.status_code != 202:
            assert answer.json()["code"] in codes, (operation, answer.text, codes)
            return
        self.expected.append((operation, answer.json()["links"]["self"], codes))

    def ask(self, kind: str, at: int, *rest: Any) -> Any:
        app, name = self.app, self.names[at]
        if kind == "put":
            return app.post(name, [rest[0]])
        if kind == "truncate":
            return app.http.post(f"/api/v1/datasets/{name}/truncate")
        if kind == "delete_keys":
            return app.post(name, {"keys": [self._key(at, key) for key in rest[0]]}, "records/delete")
        if kind == "delete_where":
            return app.post(name, {"where": {"size": {"ge": rest[0]}}}, "records/delete")
        if kind == "patch_where":
            body = {"where": {"size": {"ge": rest[0]}}, "changes": rest[1]}
            return app.http.patch(f"/api/v1/datasets/{name}/records", json=body)
        url = app.key(name, self._key(at, rest[0]))
        return app.http.delete(url) if kind == "delete" else app.http.patch(url, json=rest[1])

    def _key(self, at: int, key: tuple[Any, ...]) -> Any:
        return key[0] if len(key) == 1 else list(key)

    def compare(self) -> None:
        """Everything has been carried out: jobs have ended, and the tables are, as the model says."""
        for operation, link, codes in self.expected:
            job = self.app.http.get(link).json()
            if codes:
                assert job["state"] == "failed", (operation, job, codes)
                assert job["error"]["code"] in codes, (operation, job, codes)
            else:
                assert job["state"] == "succeeded", (operation, job)
        self.expected.clear()
        for name, table in zip(self.names, self.model.tables, strict=True):
            assert sorted(map(_shown, self.app.rows(name))) == sorted(map(_shown, table))


def _shown(record: Any) -> str:
    return str(sorted(record.items()))


@settings(max_examples=30)
@given(data=st.data())
def test_the_tables_equal_the_model_and_refusals_agree(app: InProcess, data: st.DataObject) -> None:
    found = data.draw(shapes(), label="shapes")
    families = Families(app, found)
    # Most parents are there from the start.
    for at, name in itertools.product(range(len(found)), NAMES[:2]):
        record = {"k": name, "size": 2, "room": 6, **{one.field: name for one in found[at].relations}}
        families.submit(("put", at, record))
    app.work()
    families.compare()
    for _ in range(data.draw(st.integers(10, 25))):
        families.submit(data.draw(operations(families.model), label="operation"))
        most = data.draw(st.sampled_from([0, 0, 1, 8]), label="work")
        if most:
            _work(app, 1, most)
            families.compare()
    _work(app, 1, 8)
    families.compare()


@pytest.mark.parametrize("seed", range(4))
def test_two_workers_at_once_never_overstep(app: InProcess, seed: int) -> None:
    """Children move below each other's parents, parents are lowered, renamed and deleted, on two workers at once."""
    cascade = Relation("p0", 0, "cascade", "cascade", True)
    found = [
        Shape(("k",), ()),
        Shape(("k",), (cascade,)),
        Shape(("k",), (Relation("p0", 1, "refuse", "cascade", True),)),
    ]
    families, random = Families(app, found), Random(seed)
    for at, name in itertools.product(range(3), NAMES):
        record = {"k": name, "size": 2, "room": 8, **{one.field: name for one in found[at].relations}}
        families.submit(("put", at, record))
    for _ in range(80):
        at, name, other = random.randrange(3), random.choice(NAMES), random.choice(NAMES)
        change: Any = (
            {"size": random.randrange(8)} if at and random.random() < 0.5 else {"room": random.randrange(4, 12)}
        )
        if random.random() < 0.4:
            change = {"p0": other} if at else {"k": other}
        families.submit(random.choice([("patch", at, (name,), change)] * 8 + [("delete", at, (name,))]))
    _work(app, 2, random.choice([1, 8]))
    families.compare()


@pytest.mark.parametrize("seed", range(2))
def test_clients_and_workers_at_once_leave_nothing_broken(app: InProcess, seed: int) -> None:
    """Nobody waits for anybody: what is there at the end has its parents, and keeps their limits."""
    cascade = Relation("p0", 0, "cascade", "cascade", True)
    found = [
        Shape(("k",), ()),
        Shape(("k",), (cascade,)),
        Shape(("k",), (Relation("p0", 1, "cascade", "refuse", True),)),
    ]
    families = Families(app, found)
    for at, name in itertools.product(range(3), NAMES):
        record = {"k": name, "size": 2, "room": 8, **{one.field: name for one in found[at].relations}}
        families.submit(("put", at, record))
    _work(app, 2, 8)
    families.compare()
    answers: list[Any] = []

    def send(number: int) -> None:
        random = Random(seed * 100 + number)
        for _ in range(40):
            answers.append(families.ask(*_any_operation(random)))

    ended = threading.Event()
    worker = threading.Thread(target=_work, args=(app, 2, 8, ended))
    clients = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in (worker, *clients):
        thread.start()
    for thread in clients:
        thread.join()
    ended.set()
    worker.join()
    assert {answer.status_code for answer in answers} <= {202, 404, 409}
    states = [app.http.get(one.json()["links"]["self"]).json() for one in answers if one.status_code == 202]
    assert {job["state"] for job in states} == {"succeeded", "failed"}
    codes = {job["error"]["code"] for job in states if job["error"]}
    assert codes <= {"unknown_record", "key_exists", "children_left", "parent_missing", "limit_exceeded"}
    families.model.tables = [app.rows(name) for name in families.names]
    families.model.check()


def _any_operation(random: Random) -> tuple[Any, ...]:
    at, name, other = random.randrange(3), random.choice(NAMES), random.choice(NAMES)
    kind = random.choice(["put", "put", "move", "move", "size", "room", "rename", "delete"])
    if kind == "put":
        return "put", at, {"k": name, "size": random.randrange(6), "room": 8, **({"p0": other} if at else {})}
    if kind == "delete":
        return "delete", at, (name,)
    changes: Any = {"size": random.randrange(8), "room": random.randrange(4, 12), "rename": other, "move": other}
    if kind == "move" and not at:
        kind = "room"
    return "patch", at, (name,), {{"move": "p0", "rename": "k"}.get(kind, kind): changes[kind]}


def _work(app: InProcess, workers: int, most: int, ended: threading.Event | None = None) -> None:
    """Carry out everything. most: chunks that go into one message, and into one transaction where they can.

    ended: set when nothing more will come.
    """
    failures: list[BaseException] = []

    def run() -> None:
        executor = build_executor(app.gristmill)
        idle = 0
        try:
            while idle < (50 if workers > 1 else 1):
                with app.gristmill.database.transaction() as connection:
                    messages = mark_sent(connection, "default", 2, most)
                for chunks in bundle(messages, most, workers):
                    executor.run_all([(one.job_id, one.number, one.dispatch) for one in chunks])
                idle = 0 if messages or (ended is not None and not ended.is_set()) else idle + 1
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
