"""Contrastive strategies: push down on the data, push up on other points."""
