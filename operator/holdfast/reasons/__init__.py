"""Every reason that Holdfast can say: in conditions, events, statuses and failures."""
