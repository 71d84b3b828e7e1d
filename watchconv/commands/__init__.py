"""What a person types: each command prints here, and nowhere else."""
