"""The parts of ``build_open_body.py``, which makes the body that comes with the package."""
