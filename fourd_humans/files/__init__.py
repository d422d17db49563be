"""Reading files that may be hostile: nothing in them is run, and what they cost is bounded by their size."""
