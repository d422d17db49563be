"""Training of the pose transformer."""
