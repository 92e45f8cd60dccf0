"""Where files lie: finding and reading them by ranges, and tables that are made once and kept."""
