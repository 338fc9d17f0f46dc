"""Hebbian plasticity: rules by which networks learn while they live, evolved instead of weights.

Sources: Ferigo, Cunegatti and Iacca, *Neuron-centric Hebbian learning* (GECCO 2024, arXiv
2403.12076), called NcHL below; Najarro and Risi, *Meta-learning through Hebbian plasticity in
random networks* (NeurIPS 2020, arXiv 2007.02686).
"""
