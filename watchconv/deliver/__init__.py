"""Publish the result, move the original, roll forward."""
