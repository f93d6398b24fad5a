"""One file a vendor, in a folder a port; every folder begins with a local one that really works."""
