"""4DHumans: people in video, recovered in 3D and tracked."""

__version__ = "0.1.0"
