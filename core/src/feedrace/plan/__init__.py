"""The plan: which records make up each step, as pure functions of the config and the step."""
