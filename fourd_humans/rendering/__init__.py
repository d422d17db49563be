"""Pictures of tracked bodies: the rasteriser, shading, side and top views, labels, and whole videos."""
