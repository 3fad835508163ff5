"""The Celery application. Every setting that keeps a message from being lost or a worker from hanging is here."""

from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from gristmill.broker import queues
from gristmill.core.config import Settings

EXCHANGE = Exchange("gristmill", type="direct", durable=True)


def make_queues(broker_url: str) -> list[Queue]:
    """Return the durable queues; quorum queues on RabbitMQ, whose type is the only argument that never changes."""
    arguments = {"x-queue-type": "quorum"} if broker_url.startswith(("amqp", "pyamqp")) else None
    return [
        Queue(f"gristmill.{name}", EXCHANGE, routing_key=name, durable=True, queue_arguments=arguments)
        for name in queues.queue_names()
    ]


def make_celery(settings: Settings, *, confirm: bool) -> Celery:
    """Return the application for this broker; handlers are registered by the worker alone.

    confirm: wait for the broker's confirm of every message. The dispatcher must; a worker publishes nothing but the
    events that Flower watches, and waiting for those took a third of its time.
    """
    rabbit = settings.broker_url.startswith(("amqp", "pyamqp"))
    app = Celery("gristmill", broker=settings.broker_url, set_as_current=False)
    longest = max(queue.time_limit(settings) for queue in queues.QUEUES)
    options: dict[str, Any] = (
        {"confirm_publish": confirm, "max_retries": 3, "write_timeout": 10}
        if rabbit
        # Redis has no acknowledgement by connection: a message not acknowledged comes back after this time.
        else {"visibility_timeout": int(longest) + 300, "socket_timeout": 30, "socket_connect_timeout": 5}
    )
    app.conf.update(
        task_queues=make_queues(settings.broker_url),
        task_default_queue=f"gristmill.{queues.DEFAULT_QUEUE}",
        task_default_exchange=EXCHANGE.name,
        task_default_routing_key=queues.DEFAULT_QUEUE,
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        # A message is acknowledged after the chunk ended; a second delivery finds its dispatch number spent.
        task_acks_late=True,
        # A chunk whose process was lost is freed in Postgres and sent anew; its message has done its work. Rejected, it
        # would come again for nothing, and Celery would tell nobody that the task has failed.
        task_reject_on_worker_lost=False,
        # Seconds until a process that has ended counts as lost: there is no result that could still arrive.
        worker_lost_wait=0.5,
        # Seconds that a new process has until it takes tasks. Celery's 4 are too few on a busy machine, or for weights
        # on a slow disk: each process was killed before it was ready, and none ever was.
        worker_proc_alive_timeout=60.0,
        worker_prefetch_multiplier=1,
        # There is no result backend: the truth about jobs is in Postgres.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        broker_transport_options=options,
        broker_heartbeat=30 if rabbit else 0,
        broker_connection_timeout=settings.broker_confirm_timeout,
        broker_connection_retry_on_startup=True,
        # The default of 100 would end the worker after a long outage; a channel error would end it at once.
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        # A chunk whose message is lost goes on: its fence decides, and the redelivered message is dropped.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=True,
        # Celery's event would name the message; the dispatcher sends one for each chunk (dispatcher/monitors.py).
        task_send_sent_event=False,
        task_track_started=False,
        worker_max_tasks_per_child=settings.worker_tasks_per_child,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        timezone="UTC",
        enable_utc=True,
    )
    return app
