"""Training of the networks that this project can train itself."""
