"""The parts of real_weights.py: what is made, by whom, how it is compared, and the page that shows it."""
