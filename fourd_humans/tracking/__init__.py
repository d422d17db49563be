"""The PHALP' tracker: identities from appearance, pose and location, one frame at a time."""
