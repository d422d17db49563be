"""Pseudo ground truth: SMPL fitted to the 2D keypoints of people in pictures without 3D labels."""
