"""The parts of the scenario ``search_recall``, each a question about the recall of searches and what it costs."""
