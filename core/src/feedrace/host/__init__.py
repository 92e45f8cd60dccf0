"""The host half: records read, batched and handed over; numpy alone."""
