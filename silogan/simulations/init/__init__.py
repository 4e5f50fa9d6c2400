"""`silogan init`: a first scenario for data that lies on this machine."""
