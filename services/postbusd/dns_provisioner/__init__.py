"""The dns-provisioner service; README.md is its manual page."""
