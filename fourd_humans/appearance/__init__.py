"""Appearance: texture maps of people, and distances between them."""
