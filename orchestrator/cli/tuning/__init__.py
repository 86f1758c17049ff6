"""``reelsift models tune``: services with one config each, measured against each other."""
