"""Fitting: steps of a pipeline get statistics of the values that the dataset has, as a new version of its contract."""
