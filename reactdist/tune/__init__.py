"""Tuning: the search space, the objective and the Ray Tune adapter."""
