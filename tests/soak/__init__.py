"""Random changes and random faults in a lab, as long as one likes; nothing may leak, all must come back."""
