"""Training of the action transformer: data, synthetic movements, Lightning module."""
