"""The broker as both its users see it: the Celery application and its queues, for dispatcher and worker."""
