"""What slicers and apps send to a Moonraker, as their sources do."""
