"""Which chunks share a message, and which jobs one statement may write."""

import uuid

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gristmill.datasets.contract_parser import parse_contract
from gristmill.dispatcher.loop import bundle
from gristmill.jobs.repository.dispatch import BUNDLE_RECORDS, Message
from gristmill.records.apply.groups import group_parts
from gristmill.records.apply.upsert import Part

CHUNKS = st.lists(
    st.builds(
        lambda type_, shares, records: Message(uuid.uuid4(), 0, 1, type_, 5, 1, shares=shares, records=records),
        st.sampled_from(["a", "b"]),
        st.booleans(),
        st.integers(0, 400),
    ),
    max_size=80,
)
CONTRACT = parse_contract(
    {
        "name": "t",
        "fields": [{"name": "k", "type": "text", "required": True}, {"name": "v", "type": "integer"}],
        "key": ["k"],
    }
)
RECORDS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=4)


class TestBundle:
    @given(CHUNKS, st.integers(1, 40), st.integers(1, 8))
    def test_every_chunk_goes_out_once_and_only_small_ones_of_a_type_share(
        self, chunks: list[Message], most: int, slots: int
    ) -> None:
        messages = bundle(chunks, most, slots)
        assert sorted(chunks, key=id) == sorted((chunk for message in messages for chunk in message), key=id)
        for message in messages:
            assert len(message) <= most
            assert len({chunk.type for chunk in message}) == 1
            if len(message) > 1:
                assert all(chunk.shares for chunk in message)
                assert sum(chunk.records for chunk in message) <= BUNDLE_RECORDS
            places = [chunks.index(chunk) for chunk in message]
            assert places == sorted(places)

    def test_a_run_is_one_message_whatever_its_types_and_beside_others(self) -> None:
        run = [Message(uuid.uuid4(), 0, 1, "ab"[n % 2], 5, n, shares=True, records=1, run="s") for n in range(5)]
        others = [Message(uuid.uuid4(), 0, 1, "a", 5, n, shares=True, records=1) for n in range(5, 10)]
        chunks = [chunk for pair in zip(run, others, strict=True) for chunk in pair]
        assert bundle(chunks, 32, 1) == [run, others]
        assert bundle(chunks, 2, 1) == [run, others[:2], others[2:4], others[4:]]

    def test_many_chunks_are_spread_over_the_workers(self) -> None:
        chunks = [Message(uuid.uuid4(), 0, 1, "a", 5, n, shares=True, records=1) for n in range(40)]
        assert [len(message) for message in bundle(chunks, 32, 2)] == [20, 20]
        assert [len(message) for message in bundle(chunks[:9], 32, 4)] == [8, 1]


class TestGroups:
    @given(st.lists(RECORDS, max_size=8))
    def test_groups_written_in_turn_are_jobs_written_in_turn(self, jobs: list[list[tuple[str, int]]]) -> None:
        parts = [Part(to_table(records), seq, 0) for seq, records in enumerate(jobs)]
        groups = group_parts(CONTRACT, parts)
        assert sorted(place for group in groups for place in group) == list(range(len(jobs)))
        group_of = {place: number for number, group in enumerate(groups) for place in group}
        for later in range(len(jobs)):
            for earlier in range(later):
                if {key for key, _ in jobs[earlier]} & {key for key, _ in jobs[later]}:
                    assert group_of[earlier] < group_of[later]

    def test_parts_of_other_columns_are_written_apart(self) -> None:
        with_gaps = to_table([("a", 1)]).append_column("_ord", pa.array([3], pa.int64()))
        parts = [Part(to_table([("b", 1)]), 1, 0), Part(with_gaps, 2, 0), Part(to_table([]), 3, 0)]
        assert group_parts(CONTRACT, parts) == [[0, 2], [1]]


def to_table(records: list[tuple[str, int]]) -> pa.Table:
    return pa.table(
        {"k": pa.array([k for k, _ in records], pa.string()), "v": pa.array([v for _, v in records], pa.int64())}
    )
