"""Two versions of a model by what their analyzers answer: against labelled truth, and against each other. Pure.

One file per analyzer, each with ``accuracy`` (against truth), ``agreement`` (between the versions) and ``differences`` (examples to look
at). Frames count from 0, spans are half-open, boxes are ``(x0, y0, x1, y1)`` normalised to 0..1, scores are 0..1.
"""
