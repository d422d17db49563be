"""What people look like: their texture maps, and how far two of them differ."""
