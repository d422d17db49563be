"""The datasets of the paper in their own layouts: each module reads one, checks it, and says what is missing."""
