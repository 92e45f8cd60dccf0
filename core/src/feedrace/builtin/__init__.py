"""The components that come with the core, declared like any plugin's."""
