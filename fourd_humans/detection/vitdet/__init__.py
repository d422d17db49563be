"""ViTDet with its cascade and mask heads, and the detector stage built on it."""
