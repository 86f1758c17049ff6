"""Makers of the graphs, one file per model; imported only while a model is built or verified."""
