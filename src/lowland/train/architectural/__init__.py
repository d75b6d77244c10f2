"""Architectural strategies: only push down, for the volume of low energy is limited."""
