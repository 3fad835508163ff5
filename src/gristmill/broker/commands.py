"""The Celery application of Flower and of commands such as ``celery -A gristmill.broker.commands inspect active``.

They look at queues, workers and events and run no job: without the code of the jobs they start in half the time.
"""

from gristmill.broker.app import make_celery
from gristmill.core.config import load_settings

app = make_celery(load_settings(), confirm=False)
