"""Recovering bodies: a batch of frames with detected people goes in, the `Bodies` of each come out."""
