"""Closed-form linear maps that stand in for parts of a model, from sums over calibration tokens."""
