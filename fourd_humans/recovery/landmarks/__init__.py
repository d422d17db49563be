"""The built-in recovery: landmarks of each person by a small network, and a body fitted to them."""
