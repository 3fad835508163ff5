"""The job domain's SQL, one file per verb. Statements are constants; values are always bound."""
