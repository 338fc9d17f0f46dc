"""Pruning of transformers: sites, variants, sweeps, objectives and export."""
