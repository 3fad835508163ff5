"""How people write values: numbers with marks, dates in any order. Each becomes the text that a contract type reads."""
