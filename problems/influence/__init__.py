"""Influence maximisation: whom to convince first, so that word spreads far, cheaply and evenly.

Source of models and objectives: Cunegatti et al., *Many-objective evolutionary influence
maximization* (GECCO companion 2024, arXiv 2403.18755), called MOEIM below.
"""
