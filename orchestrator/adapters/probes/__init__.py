"""Eyes for every part of the service: each file one part, each class a ``pipeline.operation_ports.Probe``."""
