"""The speeds that this project stands for, as ratios of what is measured side by side; ``python -m bench``."""
