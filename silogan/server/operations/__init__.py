"""Operation of a coordinator: its folder, services and hospitals."""
