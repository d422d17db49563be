"""A synthetic scene with exact ground truth, and what a run on it is measured by."""
