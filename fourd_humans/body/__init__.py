"""The body: an SMPL-family model, its joints and files, rotations and cameras."""
