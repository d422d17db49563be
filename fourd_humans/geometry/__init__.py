"""Cameras, rotations, boxes, masks, and the rasteriser."""
