"""Results for other programs: a module per format."""
