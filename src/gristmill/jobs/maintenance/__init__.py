"""What the dispatcher does every few seconds beside sending chunks.

cleanup: deletes what was kept long enough
loop: runs the tasks of all domains, each at its own interval
process_beat: the row that says that a process is alive, written by dispatchers and workers
rescue: frees chunks whose worker, message or time is lost
schedules: queues scheduled jobs whose time has come
"""
