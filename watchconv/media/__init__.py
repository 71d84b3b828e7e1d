"""What a file is: found out by a confined worker, from the bytes alone."""
