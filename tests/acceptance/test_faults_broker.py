"""The broker frozen, killed, emptied, unreachable or mute; messages lost, doubled and late."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.faults import FaultStack
from tests.support.ledger import Ledger, batch
from tests.support.system import eventually

from gristmill.broker.app import make_celery
from gristmill.core.config import Settings

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]
LOCK = "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"
# Seconds for a POST that takes milliseconds, on a machine that may be busy; the mute broker would hold it for ever.
PROMPT = 10


@pytest.mark.usefixtures("rabbitmq_only")
class TestFrozenBroker:
    def test_worker_killed_after_its_commit_before_its_acknowledgement(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        with stack.locked(LOCK.format(ledger.table)):
            job_id = ledger.post(batch(3))
            chunk = stack.running(job_id)
            stack.pause_broker()
        job = stack.system.finished(job_id)
        assert job["state"] == "succeeded"
        stack.system.kill("worker")
        stack.kill_broker()
        stack.start_broker()
        stack.system.start("worker2")
        dropped = {"job": job_id, "dispatch": chunk["dispatch"]}
        eventually(lambda: stack.events("worker2", "chunk.dropped", **dropped), "the message comes again", 60)
        assert not stack.events("worker2", "chunk.claimed", job=job_id)
        assert stack.system.job(job_id) == job
        ledger.check()

    def test_dispatcher_killed_between_sent_and_publish(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        # With more patience, so that there is time to see the state and to kill it in it.
        stack.system.kill("dispatcher")
        stack.system.start("dispatcher2", broker_confirm_timeout=60)
        # Its connection is open, else it would wait for that before it sends anything.
        stack.system.finished(stack.submit("test.echo"))
        stack.pause_broker()
        job_id = ledger.post(batch(3))
        eventually(lambda: stack.system.chunk(job_id)["state"] == "sent", "the chunk is sent")
        stack.system.kill("dispatcher2")
        chunk = stack.system.chunk(job_id)
        assert (chunk["state"], chunk["dispatch"], chunk["fence"]) == ("sent", 1, 0)
        stack.kill_broker()
        stack.start_broker()
        stack.system.start("dispatcher3")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        chunk = stack.system.chunk(job_id)
        assert chunk["dispatch"] > 1, "it was sent again"
        assert (chunk["attempts"], chunk["fence"]) == (1, 1)
        ledger.check()


@pytest.mark.promise(8)
class TestEmptyBroker:
    def test_queued_sent_and_running_jobs_all_succeed_once(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        ledger = Ledger(stack.system)
        running = [stack.submit("test.wait", args={"file": str(gate)}) for _ in range(2)]
        for job_id in running:
            stack.running(job_id)
        jobs = [ledger.post(batch(2, f"{number}.")) for number in range(67)]

        def reached() -> bool:
            states = [stack.system.chunk(job_id)["state"] for job_id in jobs]
            # The window of the dispatcher is eight messages, and eight small jobs count as one.
            return sorted(states) == ["sent"] * 64 + ["waiting"] * 3

        eventually(reached, lambda: f"some are sent, some wait: {[stack.system.chunk(j)['state'] for j in jobs]}")
        stack.kill_broker()
        stack.start_broker(empty=True)
        gate.touch()
        ledger.check()
        for job_id in running:
            assert stack.system.finished(job_id)["state"] == "succeeded"
            assert len(stack.effects(job_id)) == 1


@pytest.mark.promise(8)
class TestUnreachableBroker:
    def test_a_post_answers_202_with_its_port_closed_and_with_a_mute_server_on_it(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        stack.kill_broker()
        assert not stack.broker.ready()
        assert _seconds(lambda: ledger.post(batch(1, "closed"))) < PROMPT

        with _mute_server(stack.broker.port) as clients:
            dispatcher = stack.system.processes["dispatcher"]
            log_length = len(stack.events("dispatcher", "dispatcher.waiting"))
            eventually(lambda: len(clients) >= 2, "dispatcher and worker have connected", 60)
            assert _seconds(lambda: ledger.post(batch(1, "mute"))) < PROMPT
            eventually(
                # The worker tries too: of so many connections several are the dispatcher's.
                lambda: len(clients) >= 8,
                "the dispatcher gives up and tries again",
                120,
            )
            assert len(stack.events("dispatcher", "dispatcher.waiting")) <= log_length + 1, "one line for an outage"
            assert dispatcher.poll() is None
            assert stack.system.processes["worker"].poll() is None
            assert not ledger.rows()
        stack.start_broker()
        ledger.check()


class TestStrayMessages:
    def test_doubled_late_and_unknown_messages_change_nothing(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        done = stack.submit("test.echo")
        stack.system.finished(done)
        running = stack.submit("test.wait", args={"file": str(gate)})
        stack.running(running)
        before = {job_id: (stack.system.job(job_id), stack.system.chunk(job_id)) for job_id in (done, running)}
        nobody = "0192aaaa-0000-7000-8000-000000000000"
        for job_id, dispatch in [(done, 1), (done, 1), (done, 0), (done, 2), (running, 1), (running, 2), (nobody, 1)]:
            _publish(stack, "test.echo", job_id, dispatch)
        for job_id, messages in [(done, 4), (running, 2), (nobody, 1)]:
            eventually(
                lambda job_id=job_id, messages=messages: (
                    len(stack.events("worker", "chunk.dropped", job=job_id)) == messages
                ),
                "each message is dropped",
            )
        assert before == {job_id: (stack.system.job(job_id), stack.system.chunk(job_id)) for job_id in before}
        gate.touch()
        assert stack.system.finished(running)["state"] == "succeeded"
        assert [len(stack.effects(job_id)) for job_id in (done, running)] == [1, 1]

    def test_the_message_of_an_earlier_dispatch_claims_nothing(self, stack: FaultStack) -> None:
        stack.system.kill("worker")
        job_id = stack.submit("test.echo")
        # Nobody claims it: it is sent again, and both messages lie in the queue.
        eventually(
            lambda: (chunk := stack.system.chunk(job_id))["resends"] == 1 and chunk["state"] == "sent", "sent twice"
        )
        stack.system.start("worker2")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        eventually(lambda: stack.events("worker2", "chunk.dropped", job=job_id), "the first message is dropped")
        claimed = stack.system.chunk(job_id)["dispatch"]
        assert all(found["dispatch"] < claimed for found in stack.events("worker2", "chunk.dropped", job=job_id))
        assert len(stack.events("worker2", "chunk.claimed", job=job_id)) == 1
        assert len(stack.effects(job_id)) == 1


def _publish(stack: FaultStack, type_: str, job_id: str, dispatch: int) -> None:
    """Put a message for chunk 0 of the job into the queue, as only the dispatcher should."""
    app = make_celery(Settings(broker_url=stack.system.broker_url), confirm=True)
    app.send_task(type_, args=(job_id, 0, dispatch), queue="gristmill.default", ignore_result=True)
    app.close()


def _seconds(what: Callable[[], object]) -> float:
    started = time.monotonic()
    what()
    return time.monotonic() - started


@contextlib.contextmanager
def _mute_server(port: int) -> Iterator[list[socket.socket]]:
    """Accept every connection on the port and never say a word; gives the list of who has connected."""
    clients: list[socket.socket] = []
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen(100)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    clients.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield clients
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for client in clients:
                # Reset instead of a farewell: the port must be free at once for the real broker.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()


@pytest.mark.usefixtures("rabbitmq_only")
class TestChannelErrors:
    def test_a_worker_whose_channel_is_closed_each_time_waits_between_two_attempts(self, stack: FaultStack) -> None:
        """Here by a queue of another type, as after a change by hand: RabbitMQ answers 406 and closes the channel."""
        stack.system.kill("worker")
        connection = make_celery(Settings(broker_url=stack.system.broker_url), confirm=True).connection()
        with connection as broker, broker.channel() as channel:
            channel.queue_delete("gristmill.default")
            channel.queue_declare("gristmill.default", durable=True, auto_delete=False)
        stack.system.spawn("worker2")

        def lost() -> int:
            return stack.system.log("worker2").count("Connection to broker lost")

        eventually(lambda: lost() >= 2, "the worker has tried twice", 60)
        began, before = time.monotonic(), lost()
        eventually(lambda: lost() >= before + 4, "and goes on", 60)
        # A busy machine makes it slower, never faster.
        assert time.monotonic() - began > 1.0
        with connection.clone() as broker, broker.channel() as channel:
            channel.queue_delete("gristmill.default")
        stack.system.finished(stack.submit("test.echo"))
