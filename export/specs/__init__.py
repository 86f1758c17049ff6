"""Declarations, one file per model."""
