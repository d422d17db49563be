"""What can be downloaded, where it lives, how it is checked and loaded."""
