"""A page for the browser: the scene in 3D, the video, and the movements of each person over time."""
