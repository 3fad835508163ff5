"""Everything on one machine: Postgres, broker, dispatcher, API, workers, source runner, Flower as supervised children.

    Stack(settings).up()      start what is not running, wait until all of it is ready
    Stack(settings).status()  what runs, since when, where to reach it
    Stack(settings).down()    stop all of it; no process is left

All state lies in one data folder (``[stack] data``). ``PostgresServer``, ``RabbitServer`` and ``ValkeyServer`` can be
started alone, which is what the tests do.
"""

from gristmill.stack.control import Stack
from gristmill.stack.errors import StackFailed
from gristmill.stack.guests import Guests
from gristmill.stack.postgres import PostgresServer
from gristmill.stack.rabbitmq import RabbitServer
from gristmill.stack.report import ServiceStatus, StackStatus
from gristmill.stack.valkey import ValkeyServer

__all__ = [
    "Guests",
    "PostgresServer",
    "RabbitServer",
    "ServiceStatus",
    "Stack",
    "StackFailed",
    "StackStatus",
    "ValkeyServer",
]
