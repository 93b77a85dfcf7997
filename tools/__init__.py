"""Tools for those who work on FouriScale; nothing here runs in a WebUI."""
