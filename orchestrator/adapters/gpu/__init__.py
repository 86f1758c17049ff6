"""The GPU: one process that decodes and scales there, and the memory that Triton reads in place."""
