"""Finding people: a detector takes a batch of frames and gives the `Detections` of each."""
