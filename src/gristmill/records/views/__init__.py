"""Views: pipelines over the newest batch or a window, run when they are read."""
