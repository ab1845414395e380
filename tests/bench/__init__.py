"""`make bench`: what a controller does all day, measured here and with OVN in one run."""
