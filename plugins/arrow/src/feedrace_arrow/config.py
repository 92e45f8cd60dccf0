"""Configs of this plugin's sources."""
