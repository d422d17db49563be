"""Who is who: the PHALP' tracker, one frame at a time, on small arrays."""
