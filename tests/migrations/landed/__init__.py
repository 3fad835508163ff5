"""A database as the first release left it, with jobs waiting: ``dump.sql``, and what had been asked of it."""
