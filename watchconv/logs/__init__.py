"""What is said, and where it goes."""
