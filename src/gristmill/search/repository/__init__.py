"""SQL of the search domain, one noun per file. Statements are constants; values are always bound."""
