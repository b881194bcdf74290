"""From a configuration to stages, their versions and their folders."""
