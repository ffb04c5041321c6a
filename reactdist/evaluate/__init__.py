"""Evaluation: ten samples an item, scores beside the naive baselines, the report."""
