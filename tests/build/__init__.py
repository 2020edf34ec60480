"""The wheel, installed where nothing of the checkout is in sight."""
