"""What a configuration will take on this machine."""
