"""Tables that were made without a primary key get one, while they are read and written."""
